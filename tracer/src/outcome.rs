//! How a traced call ended, as far as its value tells.

use crate::values::Recorded;

/// Success, or what failed. One pointer; null for the plain success.
#[derive(Debug, Default)]
pub struct Outcome(pub(crate) Option<Box<Ending>>);

#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) failure: Option<Failure>,
    pub(crate) value: Recorded,
}

impl Outcome {
    /// The call succeeded.
    pub const fn ok() -> Self {
        Self(None)
    }

    /// The call failed.
    #[cold]
    pub fn failed(failure: Failure) -> Self {
        Self(Some(Box::new(Ending { failure: Some(failure), value: Recorded::none() })))
    }

    /// Adds what the call returned.
    #[must_use]
    pub fn with_value(mut self, value: Recorded) -> Self {
        if value.is_some() {
            self.0.get_or_insert_default().value = value;
        }
        self
    }
}

/// What is known of an error: nothing is required of its type.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The type's name, as `std::any::type_name` gives it.
    pub type_name: &'static str,
    /// The text, where the type has one.
    pub message: Option<String>,
    /// The texts of its sources, nearest first.
    pub chain: Vec<String>,
}
