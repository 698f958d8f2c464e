//! The tables, and how those of older versions become such of this one.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tracer::execution::{StoreError, Trouble};

use crate::trouble::{Problem, refused};

/// One step each, of one statement; tables that have taken the first `n` are of version `n`. Never changed once released,
/// only added to. The server commits each statement that makes a table, so that one may have been taken without being
/// counted: it has to be harmless a second time.
///
/// Texts are bytes: nothing compares them otherwise, whatever the connection's character set. Instants are milliseconds
/// since 1970. `due_type` is the type of what waits, and null for all others, as `sweep_at` is for what does not run: so
/// their indexes keep what has ended apart, at one end, and claims and sweeps cost the same however much that is.
/// `urgency` is the priority, turned round, so that all columns of the index are in the order of claims.
const STEPS: &[&str] = &["
    CREATE TABLE IF NOT EXISTS tracer_executions (
        id BINARY(16) NOT NULL PRIMARY KEY,
        type VARBINARY(255) NOT NULL,
        status VARBINARY(16) NOT NULL,
        urgency INT NOT NULL,
        created_at BIGINT NOT NULL,
        due_type VARBINARY(255),
        due_at BIGINT,
        sweep_at BIGINT,
        idempotency_key VARBINARY(255),
        parent_id BINARY(16),
        body LONGBLOB NOT NULL,
        payload LONGBLOB,
        result LONGBLOB,
        checkpoints LONGBLOB,
        UNIQUE INDEX tracer_executions_key (idempotency_key),
        INDEX tracer_executions_due (due_type, urgency, due_at, created_at, id),
        INDEX tracer_executions_sweep (sweep_at, id),
        INDEX tracer_executions_created (created_at, id),
        INDEX tracer_executions_parent (parent_id, created_at, id)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
"];

/// How long to wait for others who prepare the tables, in seconds.
const PATIENCE_S: u32 = 60;

/// Makes the tables ones of this version. Any number of processes may do so at once: each waits for the lock first. The
/// lock is the server's, so that its name has to name the database; it may have 64 characters.
pub(crate) async fn migrate(conn: &mut Conn) -> Result<(), StoreError> {
    let failed = |error: mysql_async::Error| Problem::from(error).into_store("prepare the tables");
    let lock = format!("SELECT GET_LOCK(CONCAT('tracer ', MD5(DATABASE())), {PATIENCE_S})");
    let locked: Option<Option<i64>> = conn.query_first(lock).await.map_err(failed)?;
    if locked.flatten() != Some(1) {
        let message = format!("others prepare the tables for more than {PATIENCE_S} s");
        return Err(refused("prepare the tables", Trouble::Unavailable, message));
    }
    let migrated = under_lock(conn).await;
    // It ends with the connection, too.
    conn.query_drop("DO RELEASE_LOCK(CONCAT('tracer ', MD5(DATABASE())))").await.map_err(failed)?;
    migrated
}

async fn under_lock(conn: &mut Conn) -> Result<(), StoreError> {
    let failed = |error: mysql_async::Error| Problem::from(error).into_store("prepare the tables");
    let table = "CREATE TABLE IF NOT EXISTS tracer_schema (single INT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)
                 ENGINE = InnoDB";
    conn.query_drop(table).await.map_err(failed)?;
    let version: Option<i64> =
        conn.query_first("SELECT version FROM tracer_schema WHERE single = 1").await.map_err(failed)?;
    let version = version.unwrap_or(0);
    let taken = usize::try_from(version).ok().filter(|taken| *taken <= STEPS.len()).ok_or_else(|| {
        let message = format!("expected version {} or older, found {version}: update this program", STEPS.len());
        refused("prepare the tables", Trouble::Schema, message)
    })?;
    for (number, step) in STEPS.iter().enumerate().skip(taken) {
        conn.query_drop(*step).await.map_err(failed)?;
        let taken = number + 1;
        let set = format!("INSERT INTO tracer_schema VALUES (1, {taken}) ON DUPLICATE KEY UPDATE version = {taken}");
        conn.query_drop(set).await.map_err(failed)?;
    }
    Ok(())
}
