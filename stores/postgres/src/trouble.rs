//! What PostgreSQL's errors mean.

use std::error::Error;
use std::fmt;

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tracer::execution::{ExecutionId, StoreError, Trouble, Written};

pub(crate) const NAME: &str = "postgres";

pub(crate) type Done<T> = Result<T, Problem>;

/// Trouble before a commit: nothing was written.
#[derive(Debug)]
pub(crate) enum Problem {
    Postgres(tokio_postgres::Error),
    /// No connection or no answer in time.
    Slow,
    /// No connection could be had.
    Pool(PoolError),
    /// The first connection is refused, and others will be. Whoever was let in before waits for better times instead.
    NotLetIn(tokio_postgres::Error),
    /// No pool could be made.
    Build(deadpool_postgres::BuildError),
    /// A row that is no execution.
    Corrupt(Corrupt),
    /// What was in the way has gone in the meantime.
    Gone,
    /// Others have changed it in between.
    Raced,
    /// More checkpoints of one execution than can be read again as one text.
    ManyCheckpoints {
        found: i64,
        limit: i64,
    },
    /// More than one statement may bring.
    TooLarge {
        found: usize,
        limit: usize,
    },
    /// The tables are of a version that nobody knows here.
    Newer {
        expected: usize,
        found: i64,
    },
    /// The commit itself failed: nobody knows.
    Commit(tokio_postgres::Error),
    /// The commit was not answered.
    SlowCommit,
}

/// A row that is no execution.
#[derive(Debug)]
pub(crate) struct Corrupt {
    pub(crate) id: Option<ExecutionId>,
    pub(crate) problem: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "the row of {id} is no execution"),
            None => f.write_str("a row is no execution"),
        }
    }
}

impl Error for Corrupt {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.problem)
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl Problem {
    /// Of the first connection.
    pub(crate) fn of_first(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) if error.as_db_error().is_some() && trouble(&error) == Trouble::Refused => {
                Self::NotLetIn(error)
            }
            error => Self::Pool(error),
        }
    }

    /// Of a statement that is a transaction of its own: what the server refuses is not written, but for what it says while
    /// it closes the connection.
    pub(crate) fn of_statement(error: tokio_postgres::Error) -> Self {
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        if severity == Some(Severity::Error) { Self::Postgres(error) } else { Self::Commit(error) }
    }

    /// Whether the transaction was the victim of others, and may simply begin again.
    pub(crate) fn is_conflict(&self) -> bool {
        let conflicts = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
        match self {
            Self::Postgres(error) => error.code().is_some_and(|code| conflicts.contains(code)),
            Self::Gone | Self::Raced => true,
            _ => false,
        }
    }

    pub(crate) fn into_store(self, operation: &'static str) -> StoreError {
        let (trouble, written) = match &self {
            Self::Postgres(error) => (trouble(error), Written::Nothing),
            Self::Slow | Self::Pool(_) | Self::Gone | Self::Raced => (Trouble::Unavailable, Written::Nothing),
            Self::Build(_) | Self::NotLetIn(_) => (Trouble::Refused, Written::Nothing),
            Self::TooLarge { .. } | Self::ManyCheckpoints { .. } => (Trouble::TooLarge, Written::Nothing),
            Self::Newer { .. } => (Trouble::Schema, Written::Nothing),
            Self::Corrupt(_) => (Trouble::Corrupt, Written::Nothing),
            Self::Commit(error) => (trouble(error), Written::Unknown),
            Self::SlowCommit => (Trouble::Unavailable, Written::Unknown),
        };
        let source: Box<dyn Error + Send + Sync> = match self {
            Self::Postgres(error)
            | Self::Commit(error)
            | Self::NotLetIn(error)
            | Self::Pool(PoolError::Backend(error)) => error.into(),
            Self::Slow | Self::SlowCommit => "no answer came in time".into(),
            Self::Pool(error) => error.into(),
            Self::Build(error) => error.into(),
            Self::Corrupt(corrupt) => corrupt.into(),
            Self::Gone => "what had the key was deleted again and again".into(),
            Self::ManyCheckpoints { found, limit } => {
                format!("expected at most {limit} bytes of checkpoints, found {found}").into()
            }
            Self::TooLarge { found, limit } => {
                format!("expected at most {limit} bytes (1 GB) in one call, found {found} or more").into()
            }
            Self::Newer { expected, found } => {
                format!("expected version {expected} or older, found {found}: update this program").into()
            }
            Self::Raced => "others changed it again and again".into(),
        };
        StoreError { store: NAME, operation, trouble, written, source }
    }
}

/// Classes of SQLSTATE: PostgreSQL's documentation, appendix A.
fn trouble(error: &tokio_postgres::Error) -> Trouble {
    let Some(code) = error.code() else {
        // No answer of the server's: the connection, or its encoding.
        return Trouble::Unavailable;
    };
    match code.code().as_bytes() {
        // Connection, transaction rolled back, resources, object in use, operator intervention, system; and a transaction that
        // may only read, as on a server that has another above it, or took too long.
        [b'0', b'8', ..]
        | [b'4', b'0', ..]
        | [b'5', b'3' | b'5' | b'7' | b'8', ..]
        | b"25006"
        | b"25P03"
        | b"25P04" => Trouble::Unavailable,
        [b'5', b'4', ..] => Trouble::TooLarge,
        [b'X', b'X', b'0', b'0', _] => Trouble::Corrupt,
        _ => Trouble::Refused,
    }
}
