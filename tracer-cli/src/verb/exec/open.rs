//! Opens what executions are in. Never makes it: what is missing is a mistake.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::runtime::Runtime;
use tokio_postgres::{Config, NoTls};
use tracer::execution::{DynStore, ExecutionManager};
use tracer_mysql::MysqlStore;
use tracer_postgres::PostgresStore;
use tracer_redis::RedisStore;
use tracer_sqlite::SqliteStore;

use super::{ExecError, Manager};

/// Executions, and what serves the connection to them, if there is one.
pub(super) struct Opened {
    pub(super) manager: Manager,
    pub(super) runtime: Option<Runtime>,
}

/// Opens a file, or the database behind a URL.
pub(super) fn open(place: &Path) -> Result<Opened, ExecError> {
    let url = place.to_str().unwrap_or_default();
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => connected(postgres(url)),
        Some("mysql") => connected(mysql(url)),
        Some("redis" | "redis+unix") => connected(redis(url)),
        // A name of a file may have anything in it, but what is there is no mistake.
        Some(scheme) if !place.is_file() => Err(ExecError::Scheme(scheme.to_owned())),
        _ if !place.is_file() => Err(ExecError::NoFile(place.to_owned())),
        _ => {
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
    ExecError::Connect(error.into())
}

async fn postgres(url: &str) -> Result<DynStore, ExecError> {
    let config: Config = url.parse().map_err(unreachable)?;
    let has_tables = in_time(async {
        let (client, connection) = config.connect(NoTls).await.map_err(unreachable)?;
        tokio::spawn(connection);
        let query = "SELECT to_regclass('tracer_executions') IS NOT NULL";
        client.query_one(query, &[]).await.and_then(|row| row.try_get(0)).map_err(unreachable)
    });
    if !has_tables.await? {
        return Err(ExecError::NoTables("tracer-postgres"));
    }
    Ok(DynStore::new(PostgresStore::connect(config, NoTls).await?))
}

async fn mysql(url: &str) -> Result<DynStore, ExecError> {
    let options = mysql_async::Opts::from_url(url).map_err(unreachable)?;
    let tables = in_time(async {
        let mut connection = mysql_async::Conn::new(options.clone()).await.map_err(unreachable)?;
        let query = "SELECT count(*) FROM information_schema.tables
            WHERE table_schema = database() AND table_name = 'tracer_executions'";
        connection.query_first::<u64, _>(query).await.map_err(unreachable)
    });
    if tables.await? != Some(1) {
        return Err(ExecError::NoTables("tracer-mysql"));
    }
    Ok(DynStore::new(MysqlStore::connect(options).await?))
}

async fn redis(url: &str) -> Result<DynStore, ExecError> {
    let (url, namespace) = url.split_once('#').ok_or(ExecError::NoNamespace)?;
    let client = redis::Client::open(url).map_err(unreachable)?;
    let is_there = in_time(async {
        let mut connection = client.get_multiplexed_async_connection().await.map_err(unreachable)?;
        Ok(RedisStore::is_there(&mut connection, namespace).await?)
    });
    if !is_there.await? {
        return Err(ExecError::NoSuchNamespace(namespace.to_owned()));
    }
    Ok(DynStore::new(RedisStore::connect(client, namespace).await?))
}
