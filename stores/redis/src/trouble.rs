//! What Redis's errors mean.

use std::error::Error;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tracer::execution::{StoreError, Trouble, Written};

use crate::store::VALUE_LEN_BYTES_MAX;

pub(crate) const NAME: &str = "redis";

/// Trouble with one call of the server.
#[derive(Debug)]
pub(crate) enum Problem {
    /// While reading.
    Read(RedisError),
    /// While writing, so that something may have been written if no answer has come.
    Write(RedisError),
    /// What is stored is no execution.
    Corrupt(Box<dyn Error + Send + Sync>),
    /// A text of so many bytes.
    TooLarge(usize),
    /// Checkpoints of one execution, of so many bytes.
    TooMuchKept(usize),
}

impl Problem {
    /// `written`: what the same operation has written by calls before this one.
    pub(crate) fn into_store(self, operation: &'static str, written: Written) -> StoreError {
        let unanswered = matches!(&self, Self::Write(error) if is_unanswered(error));
        let written = if unanswered { Written::Unknown } else { written };
        let (trouble, source) = match self {
            Self::Read(error) | Self::Write(error) => (trouble(&error), error.into()),
            Self::Corrupt(source) => (Trouble::Corrupt, source),
            Self::TooLarge(found) => {
                let limit = format!("expected a value of at most {VALUE_LEN_BYTES_MAX} bytes of JSON, found {found}");
                (Trouble::TooLarge, limit.into())
            }
            Self::TooMuchKept(found) => {
                let limit = format!("expected at most {VALUE_LEN_BYTES_MAX} bytes of checkpoints, found {found}");
                (Trouble::TooLarge, limit.into())
            }
        };
        StoreError { store: NAME, operation, trouble, written, source }
    }
}

/// Whether it was sent, and no answer has come. A script that is answered by an error has written nothing: it looks first.
fn is_unanswered(error: &RedisError) -> bool {
    let is_lost = matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound);
    is_lost && !error.is_connection_refusal()
}

fn trouble(error: &RedisError) -> Trouble {
    use ServerErrorKind as S;
    match error.kind() {
        // It cannot be reached, starts, or its role changes.
        ErrorKind::Io
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::Server(
            S::BusyLoading | S::TryAgain | S::ClusterDown | S::MasterDown | S::ReadOnly | S::Moved | S::Ask,
        ) => Trouble::Unavailable,
        _ => match error.code() {
            // Memory, a script of others that takes long, a disk that is full, too few replicas.
            Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS") => Trouble::Unavailable,
            Some("WRONGTYPE") => Trouble::Corrupt,
            _ => Trouble::Refused,
        },
    }
}

pub(crate) fn foreign(message: String) -> StoreError {
    let (trouble, written) = (Trouble::Schema, Written::Nothing);
    StoreError { store: NAME, operation: "open the namespace", trouble, written, source: message.into() }
}
