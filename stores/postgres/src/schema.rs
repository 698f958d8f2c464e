//! The tables, and how those of older versions become such of this one.

use tokio_postgres::Transaction;
use tracer::execution::StoreError;

use crate::trouble::{Problem, foreign};

/// One step each; tables that have taken the first `n` are of version `n`. Never changed once released, only added to.
///
/// Names are compared byte by byte (`COLLATE "C"`). Instants are milliseconds since 1970. Both partial indexes hold only
/// what waits or runs, so that claims and sweeps cost the same however many executions have ended.
const STEPS: &[&str] = &[
    r#"
    CREATE TABLE tracer_executions (
        id bytea PRIMARY KEY,
        type text COLLATE "C" NOT NULL,
        status text COLLATE "C" NOT NULL,
        priority smallint NOT NULL,
        created_at bigint NOT NULL,
        due_at bigint,
        sweep_at bigint,
        idempotency_key text COLLATE "C" UNIQUE,
        parent_id bytea,
        body text NOT NULL,
        payload text,
        result text,
        checkpoints text
    ) WITH (fillfactor = 70);
    CREATE INDEX tracer_executions_due ON tracer_executions (type, priority, due_at, created_at, id)
        WHERE due_at IS NOT NULL;
    CREATE INDEX tracer_executions_sweep ON tracer_executions (sweep_at, id) WHERE sweep_at IS NOT NULL;
    CREATE INDEX tracer_executions_created ON tracer_executions (created_at, id);
    CREATE INDEX tracer_executions_parent ON tracer_executions (parent_id, created_at, id)
        WHERE parent_id IS NOT NULL;
"#,
    r"
    -- Most have no key: nothing of theirs is to be in its index, which each of their versions was.
    CREATE UNIQUE INDEX tracer_executions_key ON tracer_executions (idempotency_key) WHERE idempotency_key IS NOT NULL;
    ALTER TABLE tracer_executions DROP CONSTRAINT tracer_executions_idempotency_key_key;
",
];

/// Any number; nobody else is to take the same one.
const LOCK: i64 = 0x7472_6163_6572;

/// Makes the tables ones of this version. Any number of processes may do so at once: each waits for the lock first.
pub(crate) async fn migrate(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| Problem::from(error).into_store("prepare the tables");
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS tracer_schema (single boolean PRIMARY KEY CHECK (single), version bigint NOT NULL)",
        )
        .await
        .map_err(failed)?;
    let version = transaction.query_opt("SELECT version FROM tracer_schema", &[]).await.map_err(failed)?;
    let version: i64 = version.map_or(0, |row| row.get(0));
    let taken = usize::try_from(version).ok().filter(|taken| *taken <= STEPS.len()).ok_or_else(|| {
        foreign(format!("expected version {} or older, found {version}: update this program", STEPS.len()))
    })?;
    for step in &STEPS[taken..] {
        transaction.batch_execute(step).await.map_err(failed)?;
    }
    let newest = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let set = "INSERT INTO tracer_schema VALUES (true, $1) ON CONFLICT (single) DO UPDATE SET version = $1";
    transaction.execute(set, &[&newest]).await.map_err(failed)?;
    Ok(())
}
