//! Reads an outcome off any returned value without asking anything of its type.
//!
//! `(&&&&&&Probe(&value)).__tracer_outcome()` tries the implementations of [`Judge`] from the most to the least references:
//! the first whose bounds are met where the function is written wins. A generic `E` without bounds is the last but
//! one, whatever its caller puts in.

use std::any::type_name;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::ops::Deref;

use crate::outcome::{Failure, Outcome, text};

/// A returned value.
#[derive(Debug)]
pub struct Probe<'a, T: ?Sized>(pub &'a T);

/// What a returned value says of its call.
pub trait Judge {
    /// Success, or the failure with as much text as its type offers.
    fn __tracer_outcome(&self) -> Outcome;
}

impl<T, E: Error> Judge for &&&&&Probe<'_, Result<T, E>> {
    #[inline]
    fn __tracer_outcome(&self) -> Outcome {
        match self.0 {
            Ok(_) => Outcome::ok(),
            Err(error) => told(error),
        }
    }
}

impl<T, E: Deref<Target: DynError>> Judge for &&&&Probe<'_, Result<T, E>> {
    #[inline]
    fn __tracer_outcome(&self) -> Outcome {
        match self.0 {
            Ok(_) => Outcome::ok(),
            Err(error) => lent(error),
        }
    }
}

impl<T, E: Display> Judge for &&&Probe<'_, Result<T, E>> {
    #[inline]
    fn __tracer_outcome(&self) -> Outcome {
        match self.0 {
            Ok(_) => Outcome::ok(),
            Err(error) => displayed(error),
        }
    }
}

impl<T, E: Debug> Judge for &&Probe<'_, Result<T, E>> {
    #[inline]
    fn __tracer_outcome(&self) -> Outcome {
        match self.0 {
            Ok(_) => Outcome::ok(),
            Err(error) => debugged(error),
        }
    }
}

impl<T, E> Judge for &Probe<'_, Result<T, E>> {
    #[inline]
    fn __tracer_outcome(&self) -> Outcome {
        self.__tracer_outcome_without_text()
    }
}

impl<T> Judge for Probe<'_, T> {
    fn __tracer_outcome(&self) -> Outcome {
        Outcome::ok()
    }
}

/// What a returned value says of its call, leaving the error's text alone.
pub trait JudgeWithoutText {
    /// Success, or the failure with its type only.
    fn __tracer_outcome_without_text(&self) -> Outcome;
}

impl<T, E> JudgeWithoutText for &Probe<'_, Result<T, E>> {
    #[inline]
    fn __tracer_outcome_without_text(&self) -> Outcome {
        match self.0 {
            Ok(_) => Outcome::ok(),
            Err(_) => untold::<E>(),
        }
    }
}

impl<T> JudgeWithoutText for Probe<'_, T> {
    fn __tracer_outcome_without_text(&self) -> Outcome {
        Outcome::ok()
    }
}

/// `err = display`: a `Result` whose error has a text for people.
#[diagnostic::on_unimplemented(
    message = "`err = display` needs a `Result` whose error implements `Display`, this is `{Self}`",
    label = "expected `Result<_, E>` with `E: Display`",
    note = "implement `std::fmt::Display` for the error, write `err = debug`, or leave `err` out: the best text there is \
            will be recorded"
)]
pub trait DisplayErr {
    /// Success, or the failure with its text.
    fn __tracer_outcome(&self) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<T, E: Display> DisplayErr for Result<T, E> {
    fn __tracer_outcome(&self) -> Outcome {
        <&&&Probe<'_, Self> as Judge>::__tracer_outcome(&&&&Probe(self))
    }
}

/// `err = debug`: a `Result` whose error has a text for developers.
#[diagnostic::on_unimplemented(
    message = "`err = debug` needs a `Result` whose error implements `Debug`, this is `{Self}`",
    label = "expected `Result<_, E>` with `E: Debug`",
    note = "derive `Debug` for the error, write `err = display`, or leave `err` out: the best text there is will be \
            recorded"
)]
pub trait DebugErr {
    /// Success, or the failure with its text.
    fn __tracer_outcome(&self) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<T, E: Debug> DebugErr for Result<T, E> {
    fn __tracer_outcome(&self) -> Outcome {
        <&&Probe<'_, Self> as Judge>::__tracer_outcome(&&&Probe(self))
    }
}

/// Gives the test of `fail_if` the type of its argument.
#[inline]
pub fn fails<R: ?Sized>(value: &R, test: impl FnOnce(&R) -> bool) -> bool {
    test(value)
}

/// The text of a failure that is one only to `fail_if`.
const JUDGED: &str = "a failure to its `fail_if`";

/// The outcome of a call that `fail_if` judged: what it says goes, the value gives the text.
pub fn judged<R: ?Sized>(value: &R, fails: bool, outcome: impl FnOnce() -> Outcome) -> Outcome {
    let _ = value;
    if !fails {
        return Outcome::ok();
    }
    let outcome = outcome();
    if outcome.is_failure() { outcome } else { failed(type_name::<R>(), Some(JUDGED.to_owned()), Vec::new()) }
}

/// The targets of `anyhow::Error`, `Box<dyn Error>` and their like: errors by what they lend, not by what they are.
pub trait DynError {
    /// Its text.
    fn text(&self) -> Option<String>;
    /// The texts of its sources, nearest first.
    fn causes(&self) -> Vec<String>;
}

macro_rules! dyn_errors {
    ($($ty:ty),*) => {$(
        impl DynError for $ty {
            fn text(&self) -> Option<String> {
                text(format_args!("{self}"))
            }

            fn causes(&self) -> Vec<String> {
                chain(self.source())
            }
        }
    )*};
}

dyn_errors!(dyn Error + '_, dyn Error + Send + '_, dyn Error + Send + Sync + '_);

/// Enough for any honest chain; an error that is its own source must not hang the program it failed.
const CHAIN_MAX: usize = 32;

fn chain(first: Option<&(dyn Error + 'static)>) -> Vec<String> {
    let errors = std::iter::successors(first, |&error| error.source()).take(CHAIN_MAX);
    errors.map_while(|error| text(format_args!("{error}"))).collect()
}

// What the kinds of errors tell. Out of line and one for each type of error: every traced function has a copy of the
// question whether it failed, not of the answer.

#[cold]
#[inline(never)]
fn told<E: Error>(error: &E) -> Outcome {
    failed(type_name::<E>(), text(format_args!("{error}")), chain(error.source()))
}

#[cold]
#[inline(never)]
fn lent<E: Deref<Target: DynError>>(error: &E) -> Outcome {
    failed(type_name::<E>(), error.text(), error.causes())
}

#[cold]
#[inline(never)]
fn displayed<E: Display>(error: &E) -> Outcome {
    failed(type_name::<E>(), text(format_args!("{error}")), Vec::new())
}

#[cold]
#[inline(never)]
fn debugged<E: Debug>(error: &E) -> Outcome {
    failed(type_name::<E>(), text(format_args!("{error:?}")), Vec::new())
}

#[cold]
#[inline(never)]
fn untold<E: ?Sized>() -> Outcome {
    failed(type_name::<E>(), None, Vec::new())
}

fn failed(type_name: &'static str, message: Option<String>, chain: Vec<String>) -> Outcome {
    Outcome::failed(Failure { type_name: type_name.into(), message, chain })
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::{Judge as _, JudgeWithoutText as _, Probe, fails, judged};
    use crate::outcome::{Failure, Outcome};

    fn failure(outcome: Outcome) -> Option<Failure> {
        outcome.into_failure()
    }

    macro_rules! best {
        ($value:expr) => {
            failure((&&&&&&Probe(&$value)).__tracer_outcome())
        };
    }

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bad order")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn outer() -> Outer {
        Outer("x".parse::<u32>().unwrap_err())
    }

    struct OnlyDisplay;

    impl fmt::Display for OnlyDisplay {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("displayed")
        }
    }

    #[derive(Debug)]
    struct OnlyDebug;

    struct Nothing;

    #[test]
    fn the_best_text_of_an_error_is_found_without_a_bound() {
        let error = best!(Err::<(), _>(outer())).unwrap();
        assert_eq!(error.message.as_deref(), Some("bad order"));
        assert_eq!(error.chain, ["invalid digit found in string"]);
        assert!(error.type_name.ends_with("Outer"));

        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(outer());
        let error = best!(Err::<(), _>(boxed)).unwrap();
        assert_eq!(error.message.as_deref(), Some("bad order"));
        assert_eq!(error.chain, ["invalid digit found in string"]);

        let message = |failure: Option<Failure>| failure.unwrap().message;
        assert_eq!(message(best!(Err::<(), _>(OnlyDisplay))).as_deref(), Some("displayed"));
        assert_eq!(message(best!(Err::<(), _>(OnlyDebug))).as_deref(), Some("OnlyDebug"));
        assert_eq!(message(best!(Err::<(), _>("text"))).as_deref(), Some("text"));
        assert_eq!(message(best!(Err::<(), _>(Nothing))), None);
    }

    #[test]
    fn what_is_not_an_err_is_a_success() {
        assert!(best!(Ok::<_, Nothing>(1)).is_none());
        assert!(best!(Some(1)).is_none());
        assert!(best!(Nothing).is_none());
    }

    #[test]
    fn a_generic_error_without_bounds_is_a_failure_without_text() {
        fn generic<T, E>(value: &Result<T, E>) -> Option<Failure> {
            best!(*value)
        }
        let error = generic(&Err::<(), _>(outer())).unwrap();
        assert_eq!(error.message, None);
        assert!(error.type_name.ends_with("Outer"));
    }

    #[test]
    fn without_text_the_error_is_not_asked_for_it() {
        let value = Err::<(), _>(outer());
        let error = failure((&&Probe(&value)).__tracer_outcome_without_text()).unwrap();
        assert_eq!((error.message, error.chain.len()), (None, 0));
    }

    #[test]
    fn fail_if_overrules_the_value() {
        let missing = Err::<(), _>("not found");
        let is_failure = fails(&missing, |value| *value != Err("not found"));
        assert!(failure(judged(&missing, is_failure, || Outcome::failed(Failure::default()))).is_none());
        let error = failure(judged(&7, fails(&7, |n| *n > 5), Outcome::ok)).unwrap();
        assert_eq!((&*error.type_name, error.message.as_deref()), ("i32", Some("a failure to its `fail_if`")));
    }
}
