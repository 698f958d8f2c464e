//! What transactions are made of: rows are locked, read, written, kept and deleted.

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::{GenericClient, Transaction};
use tokio_postgres::Row;
use tracer::execution::{Create, Execution, ExecutionId, ExecutionStatus, Refusal};

use crate::own::InTransaction;
use crate::queue::ASIDE;
use crate::row::{COLUMNS, Checkpoints, ENQUEUE, KEEP, Queue, TABLES, UPDATE, Updates, bytes, id, read};
use crate::trouble::{Done, Problem};

/// PostgreSQL's own limit for a value.
pub(crate) const TEXT_LEN_BYTES_MAX: i64 = 1_000_000_000;

/// Who was there first. If it was deleted since, the transaction is to begin again, which the caller does.
pub(crate) async fn existing(own: &impl InTransaction, new: &Create) -> Done<Execution> {
    let query = format!("SELECT {COLUMNS} FROM {TABLES} WHERE e.idempotency_key = $1 OR e.id = $2 LIMIT 1");
    let statement = own.statement(&query).await?;
    let found = own.transaction().query_opt(&statement, &[&new.idempotency_key(), &bytes(new.id())]).await?;
    found.as_ref().map_or(Err(Problem::Gone), read)
}

/// The executions with these ids, locked in the order of ids: whoever wants the same ones waits, and nobody for each
/// other. Whoever writes to one that has not ended has its row in the queue locked, to one that has ended that of its
/// record.
pub(crate) async fn lock(
    own: &impl InTransaction,
    columns: &str,
    ids: impl Iterator<Item = ExecutionId>,
) -> Done<HashMap<ExecutionId, Execution>> {
    let ids: Vec<Vec<u8>> = ids.map(bytes).collect();
    let queue = "SELECT id FROM tracer_queue WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let statement = own.statement(queue).await?;
    let queued = own.transaction().query(&statement, &[&ids]).await?;
    let queued: HashSet<ExecutionId> = queued.iter().filter_map(id).collect();
    let query = format!("SELECT {columns} FROM {TABLES} WHERE e.id = ANY($1) ORDER BY e.id FOR UPDATE OF e");
    let statement = own.statement(&query).await?;
    let rows = own.transaction().query(&statement, &[&ids]).await?;
    let mut executions = HashMap::with_capacity(rows.len());
    for row in &rows {
        let execution = read(row)?;
        // It was created, ended or driven anew between the two.
        if execution.status.is_terminal() == queued.contains(&execution.id) {
            return Err(Problem::Raced);
        }
        executions.insert(execution.id, execution);
    }
    Ok(executions)
}

/// Keeps checkpoints of executions that are locked; by how many bytes those of each have become more.
pub(crate) async fn keep(
    own: &impl InTransaction,
    checkpoints: BTreeMap<(ExecutionId, String), String>,
) -> Done<Vec<(ExecutionId, i64)>> {
    if checkpoints.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = Checkpoints::default();
    for ((id, key), value) in checkpoints {
        columns.push(id, key, value)?;
    }
    let statement = own.statement(KEEP).await?;
    let rows = own.transaction().query(&statement, &columns.values()).await?;
    rows.iter().filter_map(|row| id(row).map(|id| Ok((id, row.try_get(1)?)))).collect()
}

/// Writes executions that are locked, with by how many bytes their checkpoints have become more: those that have not ended
/// have a row in the queue afterwards, the others none.
pub(crate) async fn save<'a>(
    own: &impl InTransaction,
    executions: impl IntoIterator<Item = (&'a Execution, i64)>,
) -> Done<()> {
    let (mut updates, mut queue, mut ended) = (Updates::default(), Queue::default(), Vec::new());
    for (execution, kept) in executions {
        updates.push(execution, kept)?;
        if execution.status.is_terminal() {
            ended.push(bytes(execution.id));
        } else {
            queue.push(execution);
        }
    }
    if !ended.is_empty() {
        let statement = own.statement("DELETE FROM tracer_queue WHERE id = ANY($1)").await?;
        own.transaction().execute(&statement, &[&ended]).await?;
    }
    if !queue.is_empty() {
        let statement = own.statement(ENQUEUE).await?;
        own.transaction().execute(&statement, &queue.values()).await?;
    }
    if !ended.is_empty() || !queue.is_empty() {
        let statement = own.statement(UPDATE).await?;
        for row in own.transaction().query(&statement, &updates.values()).await? {
            let kept: i64 = row.try_get(0)?;
            if kept > TEXT_LEN_BYTES_MAX {
                return Err(Problem::ManyCheckpoints { found: kept, limit: TEXT_LEN_BYTES_MAX });
            }
        }
    }
    Ok(())
}

/// The executions whose rows in the queue are locked. Those that cannot be read are set aside, so that they keep nobody from
/// the others; they are still found, and said to be corrupt, by their ids.
pub(crate) async fn readable(transaction: &Transaction<'_>, columns: &str, locked: &[Row]) -> Done<Vec<Execution>> {
    let mut unread: HashSet<&[u8]> = locked.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let ids: Vec<&[u8]> = unread.iter().copied().collect();
    let query = format!("SELECT {columns} FROM {TABLES} WHERE e.id = ANY($1)");
    let statement = transaction.prepare_cached(&query).await?;
    let mut executions = Vec::with_capacity(ids.len());
    for row in transaction.query(&statement, &[&ids]).await? {
        match read(&row) {
            Ok(execution) => {
                unread.remove(row.try_get::<_, &[u8]>(0)?);
                executions.push(execution);
            }
            Err(Problem::Corrupt(_)) => {}
            Err(problem) => return Err(problem),
        }
    }
    if !unread.is_empty() {
        let unread: Vec<&[u8]> = unread.into_iter().collect();
        transaction.execute(ASIDE, &[&unread]).await?;
    }
    Ok(executions)
}

/// Deletes what nobody works at.
pub(crate) async fn delete(transaction: &Transaction<'_>, id: ExecutionId) -> Done<Result<(), Refusal>> {
    let id = bytes(id);
    let query = "SELECT claimed_at FROM tracer_queue WHERE id = $1 FOR UPDATE";
    let queued = transaction.query_opt(query, &[&id]).await?;
    let query = "SELECT body_status FROM tracer_executions WHERE id = $1 FOR UPDATE";
    let Some(row) = transaction.query_opt(query, &[&id]).await? else { return Ok(Err(Refusal::NotFound)) };
    // What is no execution may go, too.
    let status = row.try_get::<_, &str>(0)?.parse::<ExecutionStatus>().ok();
    if queued.is_none() && status.is_some_and(|status| !status.is_terminal()) {
        return Err(Problem::Raced);
    }
    let claimed: Option<i64> = queued.map(|row| row.try_get(0)).transpose()?.flatten();
    if claimed.is_some() || status == Some(ExecutionStatus::Running) {
        return Ok(Err(Refusal::Transition { command: "delete", status: ExecutionStatus::Running }));
    }
    transaction.execute("DELETE FROM tracer_queue WHERE id = $1", &[&id]).await?;
    transaction.execute("DELETE FROM tracer_checkpoints WHERE id = $1", &[&id]).await?;
    transaction.execute("DELETE FROM tracer_executions WHERE id = $1", &[&id]).await?;
    Ok(Ok(()))
}
