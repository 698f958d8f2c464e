//! The tables, and how those of older versions become such of this one.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tracer::execution::{Parts, StoreError, Trouble};

use crate::line::in_time;
use crate::trouble::{Problem, is_duplicate_column, refused};

/// One step each, of one statement; tables that have taken the first `n` are of version `n`. Never changed once released,
/// only added to. The server commits each statement that makes a table, so that one may have been taken without being
/// counted: it has to be harmless a second time.
///
/// Texts are bytes: nothing compares them otherwise, whatever the connection's character set. Instants are milliseconds
/// since 1970. `due_type` is the type of what waits, and null for all others, as `sweep_at` is for what does not run: so
/// their indexes keep what has ended apart, at one end, and claims and sweeps cost the same however much that is.
/// `dead_at` is when a dead letter was created, and null for all others, who are at one end of its index, too.
/// `urgency` is the priority, turned round, so that all columns of the index are in the order of claims.
const STEPS: &[Step] = &[
    Step::Run(
        "
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
",
    ),
    Step::Run(
        "
    CREATE TABLE IF NOT EXISTS tracer_checkpoints (
        id BINARY(16) NOT NULL,
        name VARBINARY(2048) NOT NULL,
        value LONGBLOB NOT NULL,
        PRIMARY KEY (id, name)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC
",
    ),
    Step::Run("ALTER TABLE tracer_executions ADD COLUMN kept_len BIGINT UNSIGNED NOT NULL DEFAULT 0"),
    Step::SplitCheckpoints,
    // The texts are in hex so that they are bytes, as the column is.
    Step::Run(
        "
    ALTER TABLE tracer_executions
        ADD COLUMN dead_at BIGINT
            GENERATED ALWAYS AS (IF(status IN (x'6661696C6564', x'74696D65645F6F7574'), created_at, NULL)) VIRTUAL,
        ADD INDEX tracer_executions_dead (dead_at, id)
",
    ),
];

/// What is done in a step.
enum Step {
    /// A statement.
    Run(&'static str),
    /// Each checkpoint gets a row, so that one more costs the same however many there are.
    SplitCheckpoints,
}

/// A step that was taken, and not counted.
fn is_done_already(error: mysql_async::Error) -> Result<(), mysql_async::Error> {
    if is_duplicate_column(&error) { Ok(()) } else { Err(error) }
}

/// Moves the checkpoints of all executions, and takes their column away, with nobody else at the tables: a process of an
/// older version that writes to it finds it gone. A text that is none becomes a row that is none: it is still there, and
/// cannot be read.
async fn split_checkpoints(conn: &mut Conn) -> Result<(), mysql_async::Error> {
    conn.query_drop("LOCK TABLES tracer_executions WRITE, tracer_checkpoints WRITE").await?;
    let moved = move_checkpoints(conn).await;
    conn.query_drop("UNLOCK TABLES").await?;
    moved
}

async fn move_checkpoints(conn: &mut Conn) -> Result<(), mysql_async::Error> {
    let column = "SHOW COLUMNS FROM tracer_executions LIKE 'checkpoints'";
    if conn.query_first::<mysql_async::Row, _>(column).await?.is_none() {
        return Ok(());
    }
    let next = "SELECT id, checkpoints FROM tracer_executions
                WHERE id > ? AND checkpoints IS NOT NULL ORDER BY id LIMIT 100";
    let mut last: Vec<u8> = Vec::new();
    loop {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = conn.exec(next, (&last,)).await?;
        let Some((id, _)) = rows.last() else { break };
        last.clone_from(id);
        for (id, text) in rows {
            let split = std::str::from_utf8(&text).ok().and_then(Parts::split_checkpoints);
            let split = split.map(|all| all.into_iter().map(|(name, value)| (name, value.into_bytes())).collect());
            let split: Vec<(String, Vec<u8>)> = split.unwrap_or_else(|| vec![(String::new(), text)]);
            let len: usize = split.iter().map(|(name, value)| name.len() + value.len()).sum();
            let rows = split.into_iter().map(|(name, value)| (&id, name, value));
            conn.exec_batch("REPLACE INTO tracer_checkpoints VALUES (?, ?, ?)", rows).await?;
            conn.exec_drop("UPDATE tracer_executions SET kept_len = ? WHERE id = ?", (len, &id)).await?;
        }
    }
    conn.query_drop("ALTER TABLE tracer_executions DROP COLUMN checkpoints").await
}

/// The name of the lock of this database: names of databases are as long as those of locks. MySQL 9.6 and later have no
/// `MD5`.
const LOCK: &str = "CONCAT('tracer ', LEFT(SHA2(DATABASE(), 256), 32))";

/// How long to wait for others who prepare the tables, in seconds.
const OTHERS_S: u64 = 60;

/// How long a step may take on all rows that there are: one that is given up is taken again next time.
const STEP: Duration = Duration::from_secs(1800);

/// Makes the tables ones of this version. Any number of processes may do so at once: each waits for the lock first, and for
/// each answer as long as `patience` says; for what becomes of all rows there are, for a [`STEP`]. The lock is the server's,
/// so that its name has to name the database; it may have 64 characters. It ends with the connection, too.
pub(crate) async fn migrate(conn: &mut Conn, patience: Duration) -> Result<(), StoreError> {
    let failed = |problem: Problem| problem.into_store("prepare the tables");
    let lock = format!("SELECT GET_LOCK({LOCK}, {OTHERS_S})");
    let others = Duration::from_secs(OTHERS_S);
    let locked: Option<Option<i64>> = in_time(others + patience, conn.query_first(lock)).await.map_err(failed)?;
    if locked.flatten() != Some(1) {
        let message = format!("others prepare the tables for more than {OTHERS_S} s");
        return Err(refused("prepare the tables", Trouble::Unavailable, message));
    }
    let table = "CREATE TABLE IF NOT EXISTS tracer_schema (single INT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)
                 ENGINE = InnoDB";
    in_time(patience, conn.query_drop(table)).await.map_err(failed)?;
    let version = "SELECT version FROM tracer_schema WHERE single = 1";
    let version: Option<i64> = in_time(patience, conn.query_first(version)).await.map_err(failed)?;
    let version = version.unwrap_or(0);
    let taken = usize::try_from(version).ok().filter(|taken| *taken <= STEPS.len()).ok_or_else(|| {
        let message = format!("expected version {} or older, found {version}: update this program", STEPS.len());
        refused("prepare the tables", Trouble::Schema, message)
    })?;
    for (number, step) in STEPS.iter().enumerate().skip(taken) {
        in_time(STEP, take(conn, step)).await.map_err(failed)?;
        let taken = number + 1;
        let set = format!("INSERT INTO tracer_schema VALUES (1, {taken}) ON DUPLICATE KEY UPDATE version = {taken}");
        in_time(patience, conn.query_drop(set)).await.map_err(failed)?;
    }
    let unlock = format!("DO RELEASE_LOCK({LOCK})");
    in_time(patience, conn.query_drop(unlock)).await.map_err(failed)
}

async fn take(conn: &mut Conn, step: &Step) -> Result<(), mysql_async::Error> {
    let done = match step {
        Step::Run(statement) => conn.query_drop(*statement).await,
        Step::SplitCheckpoints => split_checkpoints(conn).await,
    };
    done.or_else(is_done_already)
}
