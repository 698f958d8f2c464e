//! What MySQL's errors mean.

use std::error::Error;

use tracer::execution::{StoreError, Trouble, Written};

pub(crate) const NAME: &str = "mysql";

/// Error numbers: "MySQL 8.0 Error Message Reference", and MariaDB's "Error Codes", which agree in these.
const DUPLICATE: u16 = 1062;
const DUPLICATE_COLUMN: u16 = 1060;
const LOCK_WAIT: u16 = 1205;
const DEADLOCK: u16 = 1213;

/// Trouble with one transaction.
#[derive(Debug)]
pub(crate) enum Problem {
    Mysql(mysql_async::Error),
    /// No connection or no answer in time.
    Slow,
    /// A row that is no execution.
    Corrupt(Box<dyn Error + Send + Sync>),
    /// A text of so many bytes, where there may be so many.
    TooLarge {
        found: usize,
        limit: usize,
    },
    /// What was in the way has gone in the meantime.
    Gone,
    /// The commit itself failed: nobody knows.
    Commit(mysql_async::Error),
    /// The commit was not answered.
    SlowCommit,
}

impl From<mysql_async::Error> for Problem {
    fn from(error: mysql_async::Error) -> Self {
        Self::Mysql(error)
    }
}

impl Problem {
    /// Whether the transaction was in the way of others, and may simply begin again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Gone) || matches!(self, Self::Mysql(error) if matches!(code(error), Some(DEADLOCK)))
    }

    /// Whether the server has said so, and goes on.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Mysql(error) | Self::Commit(error) => !error.is_fatal(),
            Self::Slow | Self::SlowCommit => false,
            _ => true,
        }
    }

    pub(crate) fn into_store(self, operation: &'static str) -> StoreError {
        let is_commit = matches!(self, Self::Commit(_) | Self::SlowCommit);
        let written = if is_commit { Written::Unknown } else { Written::Nothing };
        let (trouble, source): (_, Box<dyn Error + Send + Sync>) = match self {
            Self::Mysql(error) | Self::Commit(error) => (trouble(&error), error.into()),
            Self::Slow | Self::SlowCommit => (Trouble::Unavailable, "no answer came in time".into()),
            Self::Corrupt(source) => (Trouble::Corrupt, source),
            Self::TooLarge { found, limit } => {
                let text = format!(
                    "expected a value of at most {limit} bytes of JSON, a quarter of max_allowed_packet, found {found}"
                );
                (Trouble::TooLarge, text.into())
            }
            Self::Gone => (Trouble::Unavailable, "what had the key was deleted again and again".into()),
        };
        StoreError { store: NAME, operation, trouble, written, source }
    }
}

pub(crate) fn is_duplicate(error: &mysql_async::Error) -> bool {
    code(error) == Some(DUPLICATE)
}

pub(crate) fn is_duplicate_column(error: &mysql_async::Error) -> bool {
    code(error) == Some(DUPLICATE_COLUMN)
}

fn code(error: &mysql_async::Error) -> Option<u16> {
    match error {
        mysql_async::Error::Server(error) => Some(error.code),
        _ => None,
    }
}

fn trouble(error: &mysql_async::Error) -> Trouble {
    use mysql_async::{DriverError as D, Error as E};
    match error {
        E::Server(error) => match error.code {
            LOCK_WAIT | DEADLOCK
            // Too many connections, no memory, no disk.
            | 1040 | 1203 | 1037 | 1041 | 1021 | 1114
            // A shutdown, a connection or query that was killed.
            | 1053 | 1077 | 1079 | 1317 | 1927 | 3024 | 3169
            // Read-only: its role changes.
            | 1290 | 1792 | 1836 => Trouble::Unavailable,
            1153 | 1301 | 1406 => Trouble::TooLarge,
            1034 | 1194 | 1195 => Trouble::Corrupt,
            _ => Trouble::Refused,
        },
        E::Io(_) | E::Driver(D::ConnectionClosed | D::PacketOutOfOrder | D::UnexpectedPacket { .. }) => {
            Trouble::Unavailable
        }
        E::Driver(D::PacketTooLarge) => Trouble::TooLarge,
        E::Driver(D::FromValue { .. } | D::FromRow { .. }) => Trouble::Corrupt,
        _ => Trouble::Refused,
    }
}

pub(crate) fn refused(operation: &'static str, trouble: Trouble, message: String) -> StoreError {
    StoreError { store: NAME, operation, trouble, written: Written::Nothing, source: message.into() }
}
