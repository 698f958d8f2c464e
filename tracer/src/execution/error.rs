//! What can go wrong: stable codes, what was expected and found, whether anything was written, whether to try again.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::failure::{Failure, with_sources};
use super::new::{NAME_LEN_BYTES_MAX, VALUE_DEPTH_MAX};
use super::progress::ProgressError;
use super::status::ExecutionStatus;
use super::timestamp::Timestamp;
use crate::id::ExecutionId;

/// Every code, once. None is ever reused.
///
/// | code | what happened | written | again? |
/// |---|---|---|---|
/// | `NOT_FOUND` | no execution has this id | nothing | no |
/// | `INVALID_STATE_TRANSITION` | the table has no edge for it | nothing | no |
/// | `MAX_RETRIES_EXCEEDED` | all attempts are used up | nothing | no |
/// | `VERSION_CONFLICT` | somebody else wrote in between | nothing | read first |
/// | `LEASE_LOST` | another attempt has begun, or somebody else holds the lease | nothing | no: stop the attempt |
/// | `IDEMPOTENCY_MISMATCH` | the key belongs to an execution of another type or payload | nothing | no |
/// | `INVALID_INPUT` | an argument is not what it has to be | nothing | no |
/// | `INVALID_PROGRESS` | the progress makes no sense, or falls | nothing | no |
/// | `TOO_LARGE` | the store takes no value of that size | nothing | no |
/// | `CORRUPT` | what is stored is no execution | nothing | no |
/// | `SCHEMA` | what is stored was written by another version | nothing | no |
/// | `AT_MOST_ONCE` | a node that is to run at most once was begun before, and has no result | nothing | no |
/// | `NOT_TRACED` | a node that keeps its result has no place in the trace: recording is off | nothing | once it is on |
/// | `NOT_ENDED` | an execution that was waited for has not ended in time | nothing | yes |
/// | `STORE` | the store failed | see [`ExecutionError::written`] | see [`ExecutionError::is_retryable`] |
pub const CODES: [&str; 15] = [
    "NOT_FOUND",
    "INVALID_STATE_TRANSITION",
    "MAX_RETRIES_EXCEEDED",
    "VERSION_CONFLICT",
    "LEASE_LOST",
    "IDEMPOTENCY_MISMATCH",
    "INVALID_INPUT",
    "INVALID_PROGRESS",
    "TOO_LARGE",
    "CORRUPT",
    "SCHEMA",
    "AT_MOST_ONCE",
    "NOT_TRACED",
    "NOT_ENDED",
    "STORE",
];

/// An operation on an execution that was refused, or that the store could not carry out.
pub struct ExecutionError {
    id: Option<ExecutionId>,
    /// Whoever repeats the call may do it twice, or be refused though it was done.
    reads_first: bool,
    kind: Box<ExecutionErrorKind>,
}

/// Why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionErrorKind {
    /// The execution does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The key belongs to another execution.
    #[error("idempotency key `{key}` belongs to {existing}, whose {differs} is another")]
    IdempotencyMismatch {
        /// The key.
        key: Box<str>,
        /// Whose it is.
        existing: ExecutionId,
        /// What is not the same: `type` or `payload`.
        differs: &'static str,
    },
    /// A node was begun by an attempt before, has no result, and is to run at most once.
    #[error(
        "node `{node}` is to run at most once: expected its result or no trace of it, found that attempt {epoch} began it"
    )]
    NotRepeated {
        /// The node.
        node: &'static str,
        /// The epoch of the attempt that began it.
        epoch: u64,
    },
    /// What is kept of a node that is to run at most once cannot be read: it is of another type, or of another version of
    /// this crate, or was not written by any.
    #[error("node `{node}` is to run at most once: expected a kept result of its type, found something else")]
    NotReadable {
        /// The node.
        node: &'static str,
    },
    /// A node that keeps its result is not recorded, so there is nothing to keep it under.
    #[error(
        "node `{node}` keeps its result under its place in the trace: expected it to be recorded, found recording off"
    )]
    NotTraced {
        /// The node.
        node: &'static str,
    },
    /// An execution that was waited for has not ended in time.
    #[error("expected an end within {within:?}, found that it is {status}")]
    NotEnded {
        /// How long it was waited for.
        within: Duration,
        /// What it is.
        status: ExecutionStatus,
    },
    /// An argument is not what it has to be.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an execution does not allow a write. Nothing was written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is none with this id.
    #[error("there is no such execution: it was never created here, or deleted")]
    NotFound,
    /// The table has no edge for it.
    #[error("cannot {command} an execution that is {status}")]
    Transition {
        /// What was asked for.
        command: &'static str,
        /// What it is.
        status: ExecutionStatus,
    },
    /// All attempts are used up.
    #[error("expected fewer than {max_attempts} attempts before another, found {attempts}")]
    MaxRetriesExceeded {
        /// How many there were.
        attempts: u32,
        /// How many there may be.
        max_attempts: u32,
    },
    /// Somebody else wrote in between.
    #[error("expected version {expected}, found {found}: it was changed in between")]
    VersionConflict {
        /// The version that the caller knows.
        expected: u64,
        /// The version that there is.
        found: u64,
    },
    /// The attempt is over.
    #[error("expected attempt {expected} to be under way, found attempt {found}, which is {status}")]
    LeaseLost {
        /// The epoch that the caller has.
        expected: u64,
        /// The epoch that there is.
        found: u64,
        /// What the execution is.
        status: ExecutionStatus,
    },
    /// Somebody else runs it.
    #[error("expected no lease, found one of worker `{worker}` until {until}: only its holder may do this")]
    Held {
        /// Who runs it.
        worker: Box<str>,
        /// Until when it is not to be taken over.
        until: Timestamp,
    },
    /// The progress makes no sense.
    #[error(transparent)]
    Progress(#[from] ProgressError),
    /// A value could not be read again, or a name is none.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
}

/// An argument that is not what it has to be. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInput {
    /// A value cannot be written as JSON.
    #[error("{what} cannot be written as JSON: {problem}")]
    NoJson {
        /// Which value.
        what: &'static str,
        /// What serde said.
        problem: Box<str>,
    },
    /// A value is nested too deeply to be read back.
    #[error("expected {what} to have at most {VALUE_DEPTH_MAX} arrays and objects in each other, found more")]
    TooDeep {
        /// Which value.
        what: &'static str,
    },
    /// A name is empty or too long.
    #[error("expected {what} of 1 to {NAME_LEN_BYTES_MAX} bytes, found {found}")]
    NameLength {
        /// Which name, with its article.
        what: &'static str,
        /// How many bytes it has.
        found: usize,
    },
    /// A name has a control character.
    #[error("expected {what} without control characters, found one at character {at}")]
    NameCharacter {
        /// Which name, with its article.
        what: &'static str,
        /// Where, counted from 0.
        at: usize,
    },
    /// There is to be no attempt.
    #[error("expected at least 1 attempt, found 0")]
    NoAttempts,
    /// An attempt has no time, or a lease is over when it begins.
    #[error("expected a duration of at least 1 ms, found 0")]
    NoTime,
    /// Code of the caller's that was to make it has panicked.
    #[error("{what} panicked: {message}")]
    Panicked {
        /// What that code is for.
        what: Box<str>,
        /// What it said.
        message: Box<str>,
    },
    /// A cursor was not given by this project.
    #[error("expected a cursor as a page gives it, found `{0}`")]
    NoCursor(Box<str>),
}

/// Whether a failed operation has changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Nothing.
    Nothing,
    /// Nobody knows: the reply was lost. Read, or repeat the call, which is safe but for creations without an idempotency key,
    /// starts, ends and cancellations without a lease, and writes that expect a version.
    Unknown,
}

/// A store that could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("store {store} failed to {operation}")]
pub struct StoreError {
    /// The store's name.
    pub store: &'static str,
    /// What it was to do, as a verb.
    pub operation: &'static str,
    /// What kind of trouble it is.
    pub trouble: Trouble,
    /// Whether anything was written.
    pub written: Written,
    /// What its driver said.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// The kinds of trouble that a store can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It cannot be reached, is too busy, or lost the connection: the same call may succeed later.
    Unavailable,
    /// It said no, and will again.
    Refused,
    /// A value is larger than the store takes.
    TooLarge,
    /// What is stored is no execution.
    Corrupt,
    /// What is stored was written by another version of the store.
    Schema,
}

impl ExecutionError {
    /// That a write to this execution was refused: for stores with operations of their own.
    pub fn refused(id: ExecutionId, refusal: Refusal) -> Self {
        Self::new(Some(id), refusal)
    }

    pub(super) fn invalid(id: Option<ExecutionId>, error: InvalidInput) -> Self {
        Self::new(id, error)
    }

    pub(super) fn new(id: Option<ExecutionId>, kind: impl Into<ExecutionErrorKind>) -> Self {
        Self { id, reads_first: false, kind: Box::new(kind.into()) }
    }

    /// Of a call that, if the reply was lost, is not to be repeated before it was read what has become of it.
    pub(super) fn read_first(mut self, reads_first: bool) -> Self {
        self.reads_first = reads_first;
        self
    }

    /// The stable code, one of [`CODES`].
    pub fn code(&self) -> &'static str {
        match &*self.kind {
            ExecutionErrorKind::Refused(refusal) => refusal.code(),
            ExecutionErrorKind::IdempotencyMismatch { .. } => "IDEMPOTENCY_MISMATCH",
            ExecutionErrorKind::Invalid(_) => "INVALID_INPUT",
            ExecutionErrorKind::NotRepeated { .. } | ExecutionErrorKind::NotReadable { .. } => "AT_MOST_ONCE",
            ExecutionErrorKind::NotTraced { .. } => "NOT_TRACED",
            ExecutionErrorKind::NotEnded { .. } => "NOT_ENDED",
            ExecutionErrorKind::Store(error) => error.code(),
        }
    }

    /// Which execution it was about, if there is one.
    pub fn id(&self) -> Option<ExecutionId> {
        self.id
    }

    /// Why, with what was expected and found.
    pub fn kind(&self) -> &ExecutionErrorKind {
        &self.kind
    }

    /// Whether the same call may succeed later. `VERSION_CONFLICT` is not of that kind: read first. Where something may have
    /// been [written](Self::written), see there.
    pub fn is_retryable(&self) -> bool {
        match &*self.kind {
            ExecutionErrorKind::Store(error) => error.is_retryable(),
            ExecutionErrorKind::NotTraced { .. } | ExecutionErrorKind::NotEnded { .. } => true,
            _ => false,
        }
    }

    /// Why an attempt failed that was ended by this error: with its code and what is behind it, to be retried if the same
    /// call may succeed later, or another attempt reads first.
    pub fn failure(&self) -> Failure {
        let reads_first =
            matches!(&*self.kind, ExecutionErrorKind::Refused(Refusal::VersionConflict { .. } | Refusal::Held { .. }));
        Failure::new(with_sources(self)).code(self.code()).retryable(reads_first || self.is_retryable())
    }

    /// Whether anything was written. Only a store that fails may leave that open.
    pub fn written(&self) -> Written {
        match &*self.kind {
            ExecutionErrorKind::Store(error) => error.written,
            _ => Written::Nothing,
        }
    }
}

impl From<StoreError> for ExecutionError {
    fn from(error: StoreError) -> Self {
        Self::new(None, error)
    }
}

impl From<InvalidInput> for ExecutionError {
    fn from(error: InvalidInput) -> Self {
        Self::new(None, error)
    }
}

impl Refusal {
    /// The stable code, one of [`CODES`].
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Transition { .. } => "INVALID_STATE_TRANSITION",
            Self::MaxRetriesExceeded { .. } => "MAX_RETRIES_EXCEEDED",
            Self::VersionConflict { .. } => "VERSION_CONFLICT",
            Self::LeaseLost { .. } | Self::Held { .. } => "LEASE_LOST",
            Self::Progress(_) => "INVALID_PROGRESS",
            Self::Invalid(_) => "INVALID_INPUT",
        }
    }
}

impl StoreError {
    /// The stable code, one of [`CODES`].
    pub const fn code(&self) -> &'static str {
        match self.trouble {
            Trouble::Unavailable | Trouble::Refused => "STORE",
            Trouble::TooLarge => "TOO_LARGE",
            Trouble::Corrupt => "CORRUPT",
            Trouble::Schema => "SCHEMA",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.trouble, Trouble::Unavailable)
    }
}

impl fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.id {
            write!(f, "execution {id}: ")?;
        }
        write!(f, "{} [{}]", self.kind, self.code())?;
        match self.written() {
            Written::Nothing => Ok(()),
            Written::Unknown if self.reads_first => {
                f.write_str("; it may have been written: read before you repeat the call")
            }
            Written::Unknown => f.write_str("; it may have been written: repeat the call or read"),
        }
    }
}

impl fmt::Debug for ExecutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionError")
            .field("code", &self.code())
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Error for ExecutionError {
    /// What is behind it. The kind itself is in the text already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(trouble: Trouble) -> ExecutionErrorKind {
        let source = "the cable was cut".into();
        StoreError { store: "test", operation: "read", trouble, written: Written::Unknown, source }.into()
    }

    #[test]
    fn codes_are_these_and_each_is_given_by_an_error() {
        let status = ExecutionStatus::Completed;
        let id = ExecutionId::new(1).unwrap();
        let kinds: [ExecutionErrorKind; 15] = [
            Refusal::NotFound.into(),
            Refusal::Transition { command: "start", status }.into(),
            Refusal::MaxRetriesExceeded { attempts: 1, max_attempts: 1 }.into(),
            Refusal::VersionConflict { expected: 1, found: 2 }.into(),
            Refusal::LeaseLost { expected: 1, found: 2, status }.into(),
            ExecutionErrorKind::IdempotencyMismatch { key: "k".into(), existing: id, differs: "type" },
            InvalidInput::NoAttempts.into(),
            Refusal::Progress(ProgressError::NoTotal).into(),
            store(Trouble::TooLarge),
            store(Trouble::Corrupt),
            store(Trouble::Schema),
            ExecutionErrorKind::NotRepeated { node: "charge", epoch: 1 },
            ExecutionErrorKind::NotTraced { node: "charge" },
            ExecutionErrorKind::NotEnded { within: Duration::ZERO, status },
            store(Trouble::Unavailable),
        ];
        let codes = kinds.map(|kind| ExecutionError::new(None, kind).code());
        assert_eq!(codes, CODES);
        assert_eq!(
            CODES.join(" "),
            "NOT_FOUND INVALID_STATE_TRANSITION MAX_RETRIES_EXCEEDED VERSION_CONFLICT LEASE_LOST \
             IDEMPOTENCY_MISMATCH INVALID_INPUT INVALID_PROGRESS TOO_LARGE CORRUPT SCHEMA AT_MOST_ONCE NOT_TRACED \
             NOT_ENDED STORE"
        );
    }

    #[test]
    fn errors_say_which_what_and_whether_it_was_written() {
        let id = ExecutionId::new(0xabc).unwrap();
        let refusal = Refusal::Transition { command: "complete", status: ExecutionStatus::TimedOut };
        assert_eq!(
            ExecutionError::refused(id, refusal).to_string(),
            "execution ex_00000000000000000000000000000abc: cannot complete an execution that is timed_out \
             [INVALID_STATE_TRANSITION]"
        );
        let error = ExecutionError::new(None, store(Trouble::Unavailable));
        assert_eq!(
            error.to_string(),
            "store test failed to read [STORE]; it may have been written: repeat the call or read"
        );
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the cable was cut"));
        assert!(error.is_retryable());
        assert!(!ExecutionError::new(None, store(Trouble::Refused)).is_retryable());
    }
}
