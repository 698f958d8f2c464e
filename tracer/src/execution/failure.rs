//! Why an attempt ended without a result.

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ExecutionError;
use super::timestamp::{ms, whole_millis};

/// Why an attempt failed, and whether another may do better.
///
/// ```
/// use tracer::execution::Failure;
///
/// let failure = Failure::new("card declined").code("card_declined");
/// assert!(!failure.retryable);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Failure {
    /// For a person.
    pub message: String,
    /// For a program; the caller's own, or one of those that are constants here, or of [`CODES`](super::CODES).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether another attempt may succeed: `false` unless said.
    #[serde(default)]
    pub retryable: bool,
    /// The shortest wait before the next attempt, whatever the policy says. In JSON milliseconds.
    #[serde(default, with = "ms::option", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

/// An error that nobody has judged: it may be retried. The message has what is behind it, too. An [`ExecutionError`] becomes
/// what its [`failure`](ExecutionError::failure) says.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: &(dyn Error + 'static) = &error;
        match error.downcast_ref::<ExecutionError>() {
            Some(judged) => judged.failure(),
            None => Self::new(with_sources(error)).retryable(true),
        }
    }
}

/// What it says, and what is behind it.
pub(super) fn with_sources(error: &(dyn Error + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    sources.fold(error.to_string(), |message, source| format!("{message}: {source}"))
}

impl Failure {
    /// The code of an attempt whose worker was not heard of until its lease ended.
    pub const LEASE_LOST: &'static str = "LEASE_LOST";
    /// The code of an attempt that took longer than it may.
    pub const TIMED_OUT: &'static str = "TIMED_OUT";
    /// The code of an attempt whose handler panicked.
    pub const PANIC: &'static str = "PANIC";

    /// A failure that is not retried, without a code.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, retryable: false, retry_after: None }
    }

    /// As it is kept: of waits, whole milliseconds.
    pub(super) fn kept(&self) -> Self {
        Self { retry_after: self.retry_after.map(whole_millis), ..self.clone() }
    }

    /// Sets the code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Says whether another attempt may succeed.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Sets the shortest wait before the next attempt, as a `Retry-After` header does.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::{InvalidInput, Refusal, StoreError, Trouble, Written};
    use crate::id::ExecutionId;

    fn asked(error: impl Error + 'static) -> Failure {
        let ask = move || -> Result<(), Failure> { Err(error)? };
        ask().unwrap_err()
    }

    #[test]
    fn an_error_that_nobody_has_judged_may_be_retried_and_says_what_is_behind_it() {
        let trouble = Trouble::TooLarge;
        let (written, source) = (Written::Nothing, "expected at most 7 bytes".into());
        let error = StoreError { store: "test", operation: "write", trouble, written, source };
        let expected = Failure::new("store test failed to write: expected at most 7 bytes").retryable(true);
        assert_eq!(asked(error), expected);
    }

    #[test]
    fn an_execution_error_is_judged_by_what_it_is() {
        let store = |trouble| {
            let (written, source) = (Written::Nothing, "expected at most 7 bytes".into());
            ExecutionError::from(StoreError { store: "test", operation: "write", trouble, written, source })
        };
        let refused = |refusal| ExecutionError::refused(ExecutionId::new(1).unwrap(), refusal);
        for (error, code, retryable) in [
            (InvalidInput::NoTime.into(), "INVALID_INPUT", false),
            (store(Trouble::TooLarge), "TOO_LARGE", false),
            (store(Trouble::Unavailable), "STORE", true),
            (refused(Refusal::NotFound), "NOT_FOUND", false),
            // Another attempt reads what there is then.
            (refused(Refusal::VersionConflict { expected: 1, found: 2 }), "VERSION_CONFLICT", true),
        ] {
            let failure = asked(error);
            assert_eq!((failure.code.as_deref(), failure.retryable), (Some(code), retryable), "{failure:?}");
        }
        let message = asked(store(Trouble::TooLarge)).message;
        assert_eq!(message, "store test failed to write [TOO_LARGE]: expected at most 7 bytes");
        let progress = asked(refused(Refusal::Progress(crate::execution::ProgressError::NoTotal))).message;
        assert_eq!(progress.matches("expected a total of at least 1").count(), 1, "{progress}");
    }
}
