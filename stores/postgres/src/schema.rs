//! The tables, and how those of older versions become such of this one.

use std::time::Duration;

use tokio_postgres::{Row, Transaction};
use tracer::execution::{Execution, ExecutionId, Parts};

use crate::row::{ENQUEUE, Queue, id};
use crate::store::in_time;
use crate::trouble::Problem;

/// One step each; tables that have taken the first `n` are of version `n`. Never changed once released, only added to.
///
/// Names are compared byte by byte (`COLLATE "C"`). Instants are milliseconds since 1970. The queue holds only what waits
/// or runs, so that claims and sweeps cost the same however many executions have ended. Dead letters are noted in a table of
/// their own, by a trigger, which few ends come to: with an index by status, each end would write to all indexes.
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
    r#"
    -- Versions before this one write columns that are not there any more: they are refused, whatever they write.
    LOCK TABLE tracer_executions;
    CREATE TABLE tracer_queue (
        id bytea PRIMARY KEY WITH (fillfactor = 45),
        type text COLLATE "C" NOT NULL,
        priority smallint NOT NULL,
        created_at bigint NOT NULL,
        due_at bigint,
        sweep_at bigint,
        claimed_at bigint,
        lease_until bigint,
        timeout_ms bigint,
        deadline_at bigint,
        version bigint NOT NULL,
        epoch bigint NOT NULL,
        cancel_requested boolean NOT NULL DEFAULT false,
        worker text
    ) WITH (fillfactor = 50);
    INSERT INTO tracer_queue (id, type, priority, created_at, version, epoch)
    SELECT id, type, priority, created_at, 0, 0 FROM tracer_executions
    WHERE status IN ('pending', 'running', 'retrying');
    CREATE INDEX tracer_queue_due ON tracer_queue (type, priority, due_at, created_at, id) WHERE due_at IS NOT NULL;
    CREATE INDEX tracer_queue_sweep ON tracer_queue (sweep_at, id) WHERE sweep_at IS NOT NULL;
    ALTER TABLE tracer_executions DROP COLUMN priority, DROP COLUMN due_at, DROP COLUMN sweep_at;
    ALTER TABLE tracer_executions SET (fillfactor = 40);
    ALTER TABLE tracer_executions RENAME COLUMN status TO body_status;
"#,
    r#"
    LOCK TABLE tracer_executions;
    CREATE TABLE tracer_checkpoints (
        id bytea,
        key text COLLATE "C",
        value text NOT NULL,
        PRIMARY KEY (id, key)
    );
    ALTER TABLE tracer_executions ADD COLUMN kept_len bigint NOT NULL DEFAULT 0;
"#,
    r"
    ALTER TABLE tracer_executions DROP COLUMN checkpoints;
",
    r"
    LOCK TABLE tracer_executions IN SHARE ROW EXCLUSIVE MODE;
    CREATE TABLE tracer_dead (created_at bigint, id bytea, PRIMARY KEY (created_at, id));
    INSERT INTO tracer_dead SELECT created_at, id FROM tracer_executions WHERE body_status IN ('failed', 'timed_out');
    CREATE FUNCTION tracer_note_dead() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.body_status IN ('failed', 'timed_out') THEN
            EXECUTE format('INSERT INTO %I.tracer_dead VALUES ($1, $2)', TG_TABLE_SCHEMA) USING NEW.created_at, NEW.id;
        ELSE
            EXECUTE format('DELETE FROM %I.tracer_dead WHERE created_at = $1 AND id = $2', TG_TABLE_SCHEMA)
                USING OLD.created_at, OLD.id;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER tracer_dead_changed AFTER UPDATE OF body_status ON tracer_executions FOR EACH ROW
        WHEN (OLD.body_status IN ('failed', 'timed_out') <> (NEW.body_status IN ('failed', 'timed_out')))
        EXECUTE FUNCTION tracer_note_dead();
    CREATE TRIGGER tracer_dead_gone AFTER DELETE ON tracer_executions FOR EACH ROW
        WHEN (OLD.body_status IN ('failed', 'timed_out'))
        EXECUTE FUNCTION tracer_note_dead();
",
];

/// From this version on what waits or runs has a row in the queue.
const QUEUE: usize = 3;
/// From this version on each checkpoint has a row, so that one more costs the same however many there are.
const KEPT: usize = 4;

/// Any number; nobody else is to take the same one.
const LOCK: i64 = 0x7472_6163_6572;

/// How long a step may take on all rows that there are: one that is given up is not taken, and begins anew next time.
const STEP: Duration = Duration::from_secs(1800);

/// Makes the tables ones of this version. Any number of processes may do so at once: each waits for the lock first, and for
/// each answer as long as `patience` says; for what becomes of all rows there are, for a [`STEP`].
pub(crate) async fn migrate(transaction: &Transaction<'_>, patience: Duration) -> Result<(), Problem> {
    in_time(patience, transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])).await?;
    let single =
        "CREATE TABLE IF NOT EXISTS tracer_schema (single boolean PRIMARY KEY CHECK (single), version bigint NOT NULL)";
    in_time(patience, transaction.batch_execute(single)).await?;
    let version = in_time(patience, transaction.query_opt("SELECT version FROM tracer_schema", &[])).await?;
    let version: i64 = version.map_or(0, |row| row.get(0));
    let taken = usize::try_from(version).ok().filter(|taken| *taken <= STEPS.len());
    let taken = taken.ok_or(Problem::Newer { expected: STEPS.len(), found: version })?;
    for (step, number) in STEPS.iter().zip(1..).skip(taken) {
        in_time(STEP, transaction.batch_execute(step)).await?;
        match number {
            QUEUE => in_time(STEP, fill_queue(transaction)).await?,
            KEPT => in_time(STEP, split_checkpoints(transaction)).await?,
            _ => {}
        }
    }
    let newest = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let set = "INSERT INTO tracer_schema VALUES (true, $1) ON CONFLICT (single) DO UPDATE SET version = $1";
    in_time(patience, transaction.execute(set, &[&newest])).await?;
    Ok(())
}

/// Says in the queue what bodies say. Those that cannot be read stay where nobody finds them but by their ids.
async fn fill_queue(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let next = "SELECT e.id, e.body FROM tracer_executions e JOIN tracer_queue q ON q.id = e.id
                WHERE e.id > $1 ORDER BY e.id LIMIT 1000";
    let (next, enqueue) = (transaction.prepare(next).await?, transaction.prepare(ENQUEUE).await?);
    let mut last: Vec<u8> = Vec::new();
    loop {
        let rows = transaction.query(&next, &[&last]).await?;
        let Some(row) = rows.last() else { return Ok(()) };
        last = row.try_get(0)?;
        let mut queue = Queue::default();
        rows.iter().filter_map(body).for_each(|execution| queue.push(&execution));
        transaction.execute(&enqueue, &queue.values()).await?;
    }
}

/// Gives each checkpoint a row. A text that is none becomes a row that is none: it is still there, and cannot be read.
async fn split_checkpoints(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let next = "SELECT id, checkpoints FROM tracer_executions
                WHERE id > $1 AND checkpoints IS NOT NULL ORDER BY id LIMIT 100";
    let insert = "INSERT INTO tracer_checkpoints SELECT $1, * FROM unnest($2::text[], $3::text[])";
    let (next, insert) = (transaction.prepare(next).await?, transaction.prepare(insert).await?);
    let mut last: Vec<u8> = Vec::new();
    loop {
        let rows = transaction.query(&next, &[&last]).await?;
        let Some(row) = rows.last() else { break };
        last = row.try_get(0)?;
        for row in &rows {
            let (id, text): (&[u8], &str) = (row.try_get(0)?, row.try_get(1)?);
            let split = Parts::split_checkpoints(text).unwrap_or_else(|| vec![(String::new(), text.to_owned())]);
            let (keys, values): (Vec<String>, Vec<String>) = split.into_iter().unzip();
            transaction.execute(&insert, &[&id, &keys, &values]).await?;
        }
    }
    let weigh = "UPDATE tracer_executions e SET kept_len = n.len
                 FROM (SELECT id, sum(octet_length(key) + octet_length(value)) AS len FROM tracer_checkpoints GROUP BY id) n
                 WHERE e.id = n.id";
    transaction.execute(weigh, &[]).await?;
    Ok(())
}

fn body(row: &Row) -> Option<Execution> {
    let id: ExecutionId = id(row)?;
    Parts::<&str> { body: row.try_get(1).ok()?, payload: None, result: None, checkpoints: None }.join(id).ok()
}
