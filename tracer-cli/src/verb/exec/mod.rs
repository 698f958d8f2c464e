//! `tracer exec`: executions in an SQLite file, or in a database.

mod change;
mod ls;
mod open;
mod select;
mod show;
mod tls;
mod wait;

use std::path::PathBuf;

use tracer::SystemClock;
use tracer::execution::{
    DynStore, Execution, ExecutionError, ExecutionManager, ExecutionStatus, ExecutionStore as _, StoreError, Timestamp,
    Trouble,
};

use crate::args::{Exec, ExecVerb};
use crate::exit::{Exit, Failure};
use crate::output::{Ink, text};
use crate::session::Session;
use open::Opened;
pub(crate) use select::SelectError;
use tls::{TlsError, Trust};
use wait::wait;

type Manager = ExecutionManager<DynStore>;

/// Why nothing was done with executions.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error("expected a file of executions, found none at `{}`", text::path(.0))]
    NoFile(PathBuf),
    #[error("expected the tables of `{0}`, found none in that database")]
    NoTables(&'static str),
    #[error("expected the namespace of executions behind a `#` in that URL, found none")]
    NoNamespace,
    #[error("expected executions in the namespace `{0}`, found none")]
    NoSuchNamespace(String),
    #[error("expected a file, or a URL of `postgres`, `mysql`, `redis`, `rediss` or `dynamodb`, found one of `{0}`")]
    Scheme(String),
    #[cfg(feature = "dynamodb")]
    #[error("expected `dynamodb://TABLE`, with `?region=` and `&endpoint=` if need be, found {0}")]
    Address(String),
    #[cfg(not(feature = "dynamodb"))]
    #[error("expected a `tracer` that was built for `dynamodb`, found one that was built without")]
    NotBuilt,
    #[error("expected the URL of a database, found one that names none")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("that database gave no answer within ten seconds")]
    NoAnswer,
    #[error("cannot reach that database")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Open(#[from] StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot start a thread for the connection")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Refused(#[from] ExecutionError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error("expected a yes to `{what}?`, found {found}")]
    NotConfirmed { what: String, found: &'static str },
}

impl ExecError {
    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::NoFile(_) => "`--store FILE`, or the variable TRACER_EXECUTIONS, says where it is",
            Self::NoTables("tracer-postgres") => "does its `search_path` begin with the schema that they are in?",
            #[cfg(feature = "dynamodb")]
            Self::NoTables("tracer-dynamodb") => "is it the right table, region and account?",
            Self::NoTables(_) => "does the URL name the database that they are in, `mysql://HOST/DATABASE`?",
            Self::NoNamespace | Self::NoSuchNamespace(_) => "`redis://HOST/NUMBER#NAMESPACE` says where they are",
            Self::Url(_) => {
                "`postgres://USER@HOST/DATABASE`, `mysql://USER@HOST/DATABASE`, `redis://HOST/NUMBER#NAMESPACE`"
            }
            Self::Scheme(_) => "executions elsewhere are for programs of your own, with `ExecutionManager`",
            #[cfg(feature = "dynamodb")]
            Self::Address(_) => "what is not in the URL is found as AWS's own programs find it",
            #[cfg(not(feature = "dynamodb"))]
            Self::NotBuilt => "`cargo install --path tracer-cli --features dynamodb` builds it",
            Self::Connect(_) | Self::NoAnswer => {
                "does a server answer there, and let you in? it may want TLS: `tracer exec --help` says how to demand it"
            }
            Self::Tls(error) => error.help(),
            Self::Thread(_) => "",
            Self::Open(StoreError { store: "sqlite", trouble: Trouble::Schema | Trouble::Corrupt, .. }) => {
                "is it a file that `tracer-sqlite` has written, by a release that this one knows?"
            }
            Self::Open(StoreError { store: "sqlite", .. }) => {
                "may you write to it, and to its directory? that is needed to read it, too"
            }
            #[cfg(feature = "dynamodb")]
            Self::Open(StoreError { store: "dynamodb", trouble: Trouble::Unavailable | Trouble::Refused, .. }) => {
                "is there a region, and are there credentials, where AWS's own programs find them?"
            }
            Self::Open(_) => "was it made by a release that this one knows?",
            Self::Select(error) => error.help(),
            Self::NotConfirmed { .. } => "`--yes` does it without asking",
            Self::Refused(error) => match error.code() {
                "MAX_RETRIES_EXCEEDED" => "`tracer exec redrive` gives it another series of attempts",
                "CORRUPT" => "`tracer exec delete ID` removes what cannot be read",
                "INVALID_STATE_TRANSITION" => "`tracer exec show` says how it stands",
                _ => "",
            },
        }
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoFile(_) | Self::NoTables(_) | Self::NoSuchNamespace(_) => Exit::Nothing,
            Self::Select(error) => error.exit(),
            Self::Tls(error) => error.exit(),
            Self::NotConfirmed { .. } | Self::NoNamespace | Self::Scheme(_) | Self::Url(_) => Exit::Usage,
            #[cfg(feature = "dynamodb")]
            Self::Address(_) => Exit::Usage,
            #[cfg(not(feature = "dynamodb"))]
            Self::NotBuilt => Exit::Usage,
            Self::Refused(error) if !matches!(error.code(), "STORE" | "CORRUPT" | "SCHEMA") => Exit::Nothing,
            Self::Connect(_) | Self::NoAnswer | Self::Thread(_) | Self::Open(_) | Self::Refused(_) => Exit::Unreadable,
        }
    }
}

pub(crate) fn run(args: &Exec, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let Opened { manager, runtime } = open::open(&args.place(), Trust::of(args))?;
    // Where there is a connection, its runtime answers while this thread waits.
    let _entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
    match &args.verb {
        ExecVerb::Ls(args) => ls::run(args, &manager, session),
        ExecVerb::Show(args) => show::run(args, &manager, session),
        ExecVerb::Cancel(args) => change::cancel(args, &manager, session),
        ExecVerb::Retry(args) => change::retry(args, &manager, session),
        ExecVerb::Redrive(args) => change::redrive(args, &manager, session),
        ExecVerb::Delete(args) => change::delete(args, &manager, session),
        ExecVerb::Prune(args) => change::prune(args, &manager, session),
    }
}

/// What executions call now, which need not be what this machine does.
fn now(manager: &Manager) -> Timestamp {
    wait(manager.store().time()).ok().flatten().unwrap_or_else(|| Timestamp::now(&SystemClock))
}

fn ink(status: ExecutionStatus) -> Ink {
    match status {
        ExecutionStatus::Completed => Ink::Good,
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => Ink::Bad,
        ExecutionStatus::Retrying => Ink::Warn,
        ExecutionStatus::Running => Ink::Live,
        ExecutionStatus::Pending | ExecutionStatus::Cancelled => Ink::Plain,
    }
}

/// `2026-01-31T12:00:00Z`.
fn time(at: Timestamp) -> String {
    text::time(Some(at.unix_ms().saturating_mul(1_000_000)))
}

/// How long ago the lease of a running execution ended; nothing, if it holds or there is none.
fn lease_over(execution: &Execution, now: Timestamp) -> Option<String> {
    let until = execution.lease.as_ref()?.until;
    (until <= now).then(|| format!("lease over since {}", duration(now.since(until))))
}

/// A duration in the two largest units that it has.
fn duration(duration: std::time::Duration) -> String {
    let shown = humantime::format_duration(duration).to_string();
    shown.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `██████░░░░ 60 % (6 of 10) importing`.
fn progress(execution: &Execution, wide: usize) -> Option<String> {
    let progress = execution.progress.as_ref()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to wide"
    )]
    let full = ((progress.percent / 100.0 * wide as f64) as usize).min(wide);
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(wide - full));
    let message = progress.message.as_ref().map(|message| format!(" {message}")).unwrap_or_default();
    Some(format!("{bar} {:.0} % ({} of {}){message}", progress.percent, progress.current, progress.total))
}
