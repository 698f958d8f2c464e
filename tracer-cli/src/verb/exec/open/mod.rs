//! Opens what executions are in. Never makes it: what is missing is a mistake.

#[cfg(feature = "dynamodb")]
mod dynamodb;
mod mysql;
mod postgres;
mod redis;
mod sslmode;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;
use tracer::execution::{DynStore, ExecutionManager};
use tracer_sqlite::SqliteStore;

use super::tls::{TlsError, Trust};
use super::{ExecError, Manager};

/// Executions, and what serves the connection to them, if there is one.
pub(super) struct Opened {
    pub(super) manager: Manager,
    pub(super) runtime: Option<Runtime>,
}

/// Opens a file, or the database behind a URL.
pub(super) fn open(place: &Path, trust: Trust) -> Result<Opened, ExecError> {
    let url = place.to_str().unwrap_or_default();
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => connected(postgres::open(url, trust)),
        Some("mysql") => connected(mysql::open(url, &trust)),
        #[cfg(feature = "dynamodb")]
        Some("dynamodb") => connected(dynamodb::open(url, &trust)),
        #[cfg(not(feature = "dynamodb"))]
        Some("dynamodb") => Err(ExecError::NotBuilt),
        Some("redis" | "redis+unix" | "rediss") => connected(redis::open(url, &trust)),
        // A name of a file may have anything in it, but what is there is no mistake.
        Some(scheme) if !place.is_file() => Err(ExecError::Scheme(scheme.to_owned())),
        _ if !place.is_file() => Err(ExecError::NoFile(place.to_owned())),
        _ => {
            trust.not_demanded()?;
            let store = DynStore::new(SqliteStore::open(place)?);
            Ok(Opened { manager: ExecutionManager::new(store), runtime: None })
        }
    }
}

/// How long a server may take to say that it has what is asked for.
const PATIENCE: Duration = Duration::from_secs(10);

fn connected(connecting: impl Future<Output = Result<DynStore, ExecError>>) -> Result<Opened, ExecError> {
    // One thread is enough for what is waited for one by one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(ExecError::Thread)?;
    let store = runtime.block_on(connecting)?;
    Ok(Opened { manager: ExecutionManager::new(store), runtime: Some(runtime) })
}

async fn in_time<T>(asking: impl Future<Output = Result<T, ExecError>>) -> Result<T, ExecError> {
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(ExecError::NoAnswer))
}

fn unreachable(error: impl Into<Box<dyn Error + Send + Sync>>) -> ExecError {
    let error = error.into();
    TlsError::behind(&*error).map_or_else(|| ExecError::Connect(error), ExecError::from)
}

fn no_url(error: impl Into<Box<dyn Error + Send + Sync>>) -> ExecError {
    ExecError::Url(error.into())
}
