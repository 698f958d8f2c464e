//! What ended long ago, and goes.

use deadpool_postgres::Transaction;
use tracer::execution::{Cursor, Deleted, Parts, Retention, Timestamp};

use crate::row::{bytes, id, ms, timestamp};
use crate::trouble::Problem;

/// In the order of creation, which has an index: with one of ends, no end would be written beside what it replaces.
const OLD: &str = "
    SELECT id, created_at, CASE WHEN body_status = ANY($5) THEN body END FROM tracer_executions
    WHERE created_at < $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4";

/// Those that are as they were: one that was driven anew has another body. What has ended is not in the queue.
const DELETE: &str = "
    WITH gone AS (
        DELETE FROM tracer_executions e USING unnest($1::bytea[], $2::text[]) AS n (id, body)
        WHERE e.id = n.id AND e.body = n.body
        RETURNING e.id
    ), kept AS (
        DELETE FROM tracer_checkpoints c USING gone WHERE c.id = gone.id
    )
    SELECT count(*) FROM gone";

/// Looks at the next `limit` behind a place, and deletes those that the retention is over for.
pub(crate) async fn delete_ended(
    transaction: &Transaction<'_>,
    retention: &Retention,
    after: Option<Cursor>,
    limit: u32,
    now: Timestamp,
) -> Result<Deleted, Problem> {
    let limit = i64::from(limit.max(1));
    let created_before = ms(retention.created_before(now));
    let (created, behind) = after.map_or((-1, Vec::new()), |after| (ms(after.created_at()), bytes(after.id())));
    let statuses: Vec<&str> = retention.statuses().iter().map(|status| status.as_str()).collect();
    let statement = transaction.prepare_cached(OLD).await?;
    let old = transaction.query(&statement, &[&created_before, &created, &behind, &limit, &statuses]).await?;
    let mut deleted = Deleted::default();
    let (mut ids, mut bodies): (Vec<Vec<u8>>, Vec<&str>) = (Vec::new(), Vec::new());
    for row in &old {
        let (created_at, id) = (timestamp(row.try_get(1)?), id(row));
        // One without an id is passed with all of its millisecond.
        deleted.next = Some(id.map_or(Cursor::end_of(created_at), |id| Cursor::new(created_at, id)));
        let Some(body) = row.try_get::<_, Option<&str>>(2)? else { continue };
        let read = |id| Parts { body, payload: None, result: None, checkpoints: None }.join(id).ok();
        match id.and_then(read) {
            Some(execution) if retention.is_over(&execution, now) => {
                ids.push(bytes(execution.id));
                bodies.push(body);
            }
            Some(_) => {}
            None => deleted.unreadable += 1,
        }
    }
    if i64::try_from(old.len()).is_ok_and(|looked| looked < limit) {
        deleted.next = None;
    }
    if !ids.is_empty() {
        let statement = transaction.prepare_cached(DELETE).await?;
        let count: i64 = transaction.query_one(&statement, &[&ids, &bodies]).await?.try_get(0)?;
        deleted.deleted = u32::try_from(count).unwrap_or(u32::MAX);
    }
    Ok(deleted)
}
