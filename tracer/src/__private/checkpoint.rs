//! `checkpoint`: how the output of a node is kept, with the bound reported at the return type.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::execution::resume::Codec;

/// A result that is kept, and given back by later attempts.
#[diagnostic::on_unimplemented(
    message = "the result of a node with `checkpoint` is kept, and given back by later attempts: `{Self}` needs \
               `serde::Serialize` and `serde::Deserialize`",
    label = "cannot be written down and made again",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait CheckpointOutput: Sized {
    /// As a value.
    fn codec() -> Codec<Self>;
    /// As the success of a `Result`.
    fn codec_of_success<E>() -> Codec<Result<Self, E>>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> CheckpointOutput for T {
    fn codec() -> Codec<Self> {
        Codec::of_value()
    }

    fn codec_of_success<E>() -> Codec<Result<Self, E>> {
        Codec::of_success()
    }
}

/// The type of an output. The inherent method wins over [`AnyOutput`].
pub struct OutputProbe<R>(PhantomData<fn() -> R>);

impl<R> fmt::Debug for OutputProbe<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputProbe")
    }
}

impl<R> OutputProbe<R> {
    /// Of `R`.
    #[expect(clippy::new_without_default, reason = "expansions only")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, E> OutputProbe<Result<T, E>> {
    /// Its success is kept.
    pub fn __tracer_kept(&self) -> Success<T, E> {
        Success(PhantomData)
    }
}

/// An output that is not a `Result`.
pub trait AnyOutput<R> {
    /// It is kept.
    fn __tracer_kept(&self) -> Whole<R>;
}

impl<R> AnyOutput<R> for OutputProbe<R> {
    fn __tracer_kept(&self) -> Whole<R> {
        Whole(PhantomData)
    }
}

/// The success of a `Result` is kept.
#[derive(Debug)]
pub struct Success<T, E>(PhantomData<fn() -> (T, E)>);

/// The output is kept.
#[derive(Debug)]
pub struct Whole<R>(PhantomData<fn() -> R>);

impl<T, E> Success<T, E> {
    /// How.
    #[expect(clippy::unused_self, reason = "it is there for its type")]
    pub fn codec(self) -> Codec<Result<T, E>>
    where
        T: CheckpointOutput,
    {
        T::codec_of_success()
    }
}

impl<R> Whole<R> {
    /// How.
    #[expect(clippy::unused_self, reason = "it is there for its type")]
    pub fn codec(self) -> Codec<R>
    where
        R: CheckpointOutput,
    {
        R::codec()
    }
}
