//! Values of a step, with the bound reported where the user asked for them.

use serde::Serialize;

use crate::values::Values;

/// An argument that can be recorded.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot be recorded: it does not implement `serde::Serialize`",
    label = "recorded here",
    note = "derive it (`#[derive(serde::Serialize)]`), or leave the value out: `skip(..)`, or a `record(..)` without it"
)]
pub trait RecordArgument {
    /// Records it as `name`.
    fn record(&self, name: &'static str, values: &mut Values);
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> RecordArgument for T {
    fn record(&self, name: &'static str, values: &mut Values) {
        values.field(name, self);
    }
}

/// A returned value that can be recorded.
#[diagnostic::on_unimplemented(
    message = "the returned `{Self}` cannot be recorded: it does not implement `serde::Serialize`",
    label = "returned here",
    note = "derive it (`#[derive(serde::Serialize)]`), or leave `ret` out of `record(..)`"
)]
pub trait RecordReturn {
    /// Records it as `ret`.
    fn record(&self, values: &mut Values);
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> RecordReturn for T {
    fn record(&self, values: &mut Values) {
        values.field("ret", self);
    }
}

/// A returned value, of which the success is recorded. The inherent method wins over [`AnyReturn`].
#[derive(Debug)]
pub struct ReturnProbe<'a, T: ?Sized>(pub &'a T);

impl<'a, T, E> ReturnProbe<'a, Result<T, E>> {
    /// The value, if there is one.
    pub fn __tracer_success(&self) -> Option<&'a T> {
        self.0.as_ref().ok()
    }
}

/// A returned value that is not a `Result`.
pub trait AnyReturn<'a, T: ?Sized> {
    /// The value.
    fn __tracer_success(&self) -> Option<&'a T>;
}

impl<'a, T: ?Sized> AnyReturn<'a, T> for ReturnProbe<'a, T> {
    fn __tracer_success(&self) -> Option<&'a T> {
        Some(self.0)
    }
}
