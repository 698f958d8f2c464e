//! How a traced call ended, as far as its value tells.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::recorder::Detail;
use crate::switch;
use crate::values::Recorded;

/// Success, or what failed, and what the call returned if that is recorded. Two pointers, null for the plain success.
#[derive(Debug, Default)]
pub struct Outcome {
    failure: Option<Box<Failure>>,
    value: Recorded,
}

impl Outcome {
    /// The call succeeded.
    pub const fn ok() -> Self {
        Self { failure: None, value: Recorded::none() }
    }

    /// The call failed.
    #[cold]
    pub fn failed(failure: Failure) -> Self {
        Self { failure: Some(Box::new(failure)), value: Recorded::none() }
    }

    /// Adds what the call returned.
    #[must_use]
    #[inline]
    pub fn with_value(self, value: Recorded) -> Self {
        Self { value, ..self }
    }

    /// Whether it is [success](Self::ok) and nothing more.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.failure.is_none() && !self.value.is_some()
    }

    #[inline]
    pub(crate) fn is_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// What the call returned, if it went well.
    #[inline]
    pub(crate) fn value(&self) -> &Recorded {
        &self.value
    }

    /// The detail of the step that says so.
    pub(crate) fn into_detail(self) -> Option<Box<Detail>> {
        let failure = self.failure.map(|failure| *failure);
        let values = self.value.captured();
        let is_plain = failure.is_none() && values.is_none();
        (!is_plain).then(|| Box::new(Detail { values, failure, ..Detail::default() }))
    }

    #[cfg(test)]
    pub(crate) fn into_failure(self) -> Option<Failure> {
        self.failure.map(|failure| *failure)
    }
}

/// What is known of an error: nothing is required of its type.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The type's name, as `std::any::type_name` gives it.
    pub type_name: Cow<'static, str>,
    /// The text, where the type has one.
    pub message: Option<String>,
    /// The texts of its sources, nearest first.
    pub chain: Vec<String>,
}

/// The longest text of an error, in bytes.
const TEXT_LEN_MAX: usize = 4096;

/// A text, cut to a bound. `None` if nothing is recorded, or if what writes it panics.
pub(crate) fn text(what: fmt::Arguments<'_>) -> Option<String> {
    if !switch::is_on() {
        return None;
    }
    let mut bounded = Bounded(String::new());
    // Full is no failure: what fits is the text.
    catch_unwind(AssertUnwindSafe(|| bounded.write_fmt(what).ok())).ok()?;
    Some(bounded.0)
}

/// Takes what fits and then stops whoever writes.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_LEN_MAX - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let fits = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.0.push_str(&text[..fits]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_never_panic() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("é and on ")?;
                }
            }
        }
        struct Panics;
        impl fmt::Display for Panics {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("inside Display")
            }
        }
        let endless = text(format_args!("{Endless}")).unwrap();
        assert!(endless.starts_with("é and on é") && endless.ends_with('…'));
        assert!(endless.len() <= TEXT_LEN_MAX + 4);
        assert_eq!(text(format_args!("{Panics}")), None);
        assert_eq!(text(format_args!("short")).as_deref(), Some("short"));
    }
}
