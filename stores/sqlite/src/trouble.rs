//! What SQLite's errors mean.

use std::error::Error;
use std::fmt;

use rusqlite::ErrorCode;
use tracer::execution::{ExecutionId, StoreError, Trouble, Written};

pub(crate) const NAME: &str = "sqlite";
/// SQLite's own limit for a text (`SQLITE_MAX_LENGTH`), and so for all checkpoints of an execution, which are read as one.
pub(crate) const TEXT_LEN_BYTES_MAX: i64 = 1_000_000_000;

/// Trouble inside of a transaction, which is rolled back: nothing was written.
#[derive(Debug)]
pub(crate) enum Problem {
    Sqlite(rusqlite::Error),
    /// A row that is no execution.
    Corrupt(Corrupt),
    /// More bytes of something than there may be.
    TooLarge {
        what: &'static str,
        found: i64,
        limit: i64,
    },
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

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Problem {
    pub(crate) fn into_store(self, operation: &'static str, written: Written) -> StoreError {
        match self {
            Self::Sqlite(error) => {
                let trouble = trouble(&error);
                StoreError { store: NAME, operation, trouble, written, source: error.into() }
            }
            Self::Corrupt(corrupt) => {
                StoreError { store: NAME, operation, trouble: Trouble::Corrupt, written, source: corrupt.into() }
            }
            Self::TooLarge { what, found, limit } => {
                let source = format!("expected at most {limit} bytes of {what}, found {found}");
                StoreError { store: NAME, operation, trouble: Trouble::TooLarge, written, source: source.into() }
            }
        }
    }
}

fn trouble(error: &rusqlite::Error) -> Trouble {
    use rusqlite::Error as E;
    match error {
        E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..) => Trouble::Corrupt,
        _ => match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted,
            ) => Trouble::Unavailable,
            Some(ErrorCode::TooBig) => Trouble::TooLarge,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Corrupt,
            _ => Trouble::Refused,
        },
    }
}

/// The thread that should have answered is gone.
pub(crate) fn gone(operation: &'static str) -> StoreError {
    let source = "the thread of the store has ended".into();
    StoreError { store: NAME, operation, trouble: Trouble::Refused, written: Written::Unknown, source }
}

/// The file was written by something else.
pub(crate) fn foreign(message: String) -> StoreError {
    StoreError {
        store: NAME,
        operation: "open the file",
        trouble: Trouble::Schema,
        written: Written::Nothing,
        source: message.into(),
    }
}
