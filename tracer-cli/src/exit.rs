//! How the program ends.

use std::io;
use std::process::ExitCode;

use crate::export::ExportError;
use crate::output::Messages;
use crate::select::SelectError;
use crate::verb::exec::ExecError;

/// The exit codes; `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for was done.
    Done = 0,
    /// There is nothing to show, or `doctor` found trouble.
    Nothing = 1,
    /// What was asked for cannot be meant. clap ends with the same code.
    Usage = 2,
    /// Some input could not be read. What could be was shown.
    Unreadable = 3,
    /// The output could not be written.
    Output = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No trace, or more than one.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Something with executions.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The standard output did not take it.
    #[error("the standard output cannot be written")]
    Output(#[from] io::Error),
    /// The file of `--out` did not take it.
    #[error(transparent)]
    Export(#[from] ExportError),
}

impl Failure {
    /// Tells a person. That whoever read the output has seen enough (`| head`) is no failure.
    pub(crate) fn report(&self, messages: Messages) -> Exit {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Done,
            Self::Select(error) => messages.error(error, error.help()),
            Self::Exec(error) => messages.error(error, error.help()),
            Self::Output(_) => messages.error(self, "is the disk full, or its receiver gone?"),
            Self::Export(error) => messages.error(error, error.help()),
        }
        match self {
            Self::Select(SelectError::Ambiguous { .. }) => Exit::Usage,
            Self::Select(_) => Exit::Nothing,
            Self::Exec(error) => error.exit(),
            Self::Output(_) => Exit::Output,
            Self::Export(error) => error.exit(),
        }
    }
}
