//! What ended long ago, and goes.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use tracer::execution::{Cursor, Deleted, ExecutionId, Retention, Timestamp};

use crate::row::{self, bytes, marks, ms, read};
use crate::trouble::Problem;

/// What [`read`] reads of what is no more than a candidate: the rule looks at the body.
const COLUMNS: &str = "id, body, NULL, NULL, NULL, kept_len";
/// How many one statement is about.
const LOOKS_MAX: u32 = 1000;

/// What is looked at: what [`read`] reads, then the place. In the order of creation, which has an index.
fn old(after: Option<Cursor>) -> (String, Vec<Value>) {
    let (behind, values): (&str, Vec<Value>) = match after {
        // Not `(created_at, id) > (?, ?)`, for which no index is used.
        Some(after) => {
            let at = ms(after.created_at());
            ("AND created_at >= ? AND (created_at > ? OR id > ?)", vec![at.into(), at.into(), bytes(after.id()).into()])
        }
        None => ("", Vec::new()),
    };
    let query = format!(
        "SELECT {COLUMNS}, status, created_at FROM tracer_executions
         WHERE created_at < ? {behind} ORDER BY created_at, id LIMIT ?"
    );
    (query, values)
}

/// Looks at the next `limit` behind a place, and deletes those that the retention is over for.
pub(crate) async fn delete_ended(
    line: &mut Conn,
    retention: &Retention,
    after: Option<Cursor>,
    limit: u32,
    now: Timestamp,
) -> Result<Deleted, Problem> {
    let limit = limit.clamp(1, LOOKS_MAX);
    let (query, behind) = old(after);
    let created_before: Value = ms(retention.created_before(now)).into();
    let values: Vec<Value> = [vec![created_before], behind, vec![limit.into()]].concat();
    let rows: Vec<Row> = line.exec(query, values).await?;
    let is_all = rows.len() < limit as usize;
    let mut deleted = Deleted::default();
    let mut over = Vec::new();
    for mut row in rows {
        let created_at = row::timestamp(row::column(&mut row, 7)?);
        let status: Vec<u8> = row::column(&mut row, 6)?;
        let id = row::id(&row);
        // One without an id is passed with all of its millisecond.
        deleted.next = Some(id.map_or(Cursor::end_of(created_at), |id| Cursor::new(created_at, id)));
        if !retention.statuses().iter().any(|one| one.as_str().as_bytes() == status) {
            continue;
        }
        match read(row) {
            Ok(found) if retention.is_over(&found.execution, now) => over.push(found.execution.id),
            Ok(_) => {}
            Err(Problem::Corrupt(_)) => deleted.unreadable += 1,
            Err(problem) => return Err(problem),
        }
    }
    if is_all {
        deleted.next = None;
    }
    deleted.deleted = delete(line, retention, over, now).await?;
    Ok(deleted)
}

/// Deletes those for which it is still over once they are locked. Whoever has one is about to drive it anew.
async fn delete(line: &mut Conn, retention: &Retention, ids: Vec<ExecutionId>, now: Timestamp) -> Result<u32, Problem> {
    if ids.is_empty() {
        return Ok(0);
    }
    let values = |ids: &[ExecutionId]| ids.iter().map(|id| bytes(*id).into()).collect::<Vec<Value>>();
    let query = format!(
        "SELECT {COLUMNS} FROM tracer_executions WHERE id IN ({}) ORDER BY id FOR UPDATE SKIP LOCKED",
        marks(ids.len())
    );
    let rows: Vec<Row> = line.exec(query, values(&ids)).await?;
    let locked = rows.into_iter().filter_map(|row| read(row).ok()).map(|found| found.execution);
    let over: Vec<ExecutionId> = locked.filter(|found| retention.is_over(found, now)).map(|found| found.id).collect();
    if !over.is_empty() {
        for table in ["tracer_checkpoints", "tracer_executions"] {
            line.exec_drop(format!("DELETE FROM {table} WHERE id IN ({})", marks(over.len())), values(&over)).await?;
        }
    }
    Ok(u32::try_from(over.len()).unwrap_or(u32::MAX))
}
