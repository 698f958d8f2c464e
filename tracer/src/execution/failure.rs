//! Why an attempt ended without a result.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timestamp::ms;

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

/// An error that nobody has judged: it may be retried. The message has what is behind it, too.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let sources = std::iter::successors(error.source(), |error| error.source());
        let message = sources.fold(error.to_string(), |message, source| format!("{message}: {source}"));
        Self::new(message).retryable(true)
    }
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
