//! Opens what executions are in. Never makes it: what is missing is a mistake.

use std::path::Path;

use tokio::runtime::Runtime;
use tokio_postgres::{Config, NoTls};
use tracer::execution::{DynStore, ExecutionManager};
use tracer_postgres::PostgresStore;
use tracer_sqlite::SqliteStore;

use super::{ExecError, Manager};

/// Executions, and what serves the connection to them, if there is one.
pub(super) struct Opened {
    pub(super) manager: Manager,
    pub(super) runtime: Option<Runtime>,
}

/// Opens a file, or the database behind a URL.
pub(super) fn open(place: &Path) -> Result<Opened, ExecError> {
    let url = place.to_str().filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"));
    if let Some(url) = url {
        return connect(&url.parse()?);
    }
    if !place.is_file() {
        return Err(ExecError::NoFile(place.to_owned()));
    }
    let store = DynStore::new(SqliteStore::open(place)?);
    Ok(Opened { manager: ExecutionManager::new(store), runtime: None })
}

fn connect(config: &Config) -> Result<Opened, ExecError> {
    // One thread is enough for what is waited for one by one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(ExecError::Thread)?;
    let store = runtime.block_on(async {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        let has_tables = client.query_one("SELECT to_regclass('tracer_executions') IS NOT NULL", &[]).await?;
        if !has_tables.try_get::<_, bool>(0)? {
            return Err(ExecError::NoTables);
        }
        Ok(PostgresStore::connect(config.clone(), NoTls).await?)
    })?;
    Ok(Opened { manager: ExecutionManager::new(DynStore::new(store)), runtime: Some(runtime) })
}
