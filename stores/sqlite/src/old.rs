//! What ended long ago, and goes. Everything here runs inside a transaction of its caller's.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params};
use tracer::execution::{Cursor, Deleted, Retention, Timestamp};

use crate::row::{Found, Result, blob, ms, read_id, remove};
use crate::trouble::Problem;

/// What [`Found::read`] reads, then the place. In the order of creation, which has an index: one of ends would cost each end.
const OLD: &str = "
    SELECT seq, id, body, NULL, NULL, NULL, kept_len, status, created_at FROM executions
    WHERE created_at < ?1 AND (created_at, id) > (?2, ?3) ORDER BY created_at, id LIMIT ?4";

/// Looks at the next `limit` behind a place, and deletes those that the retention is over for.
pub(crate) fn delete_ended(
    connection: &Connection,
    retention: &Retention,
    after: Option<Cursor>,
    limit: u32,
    now: Timestamp,
) -> Result<Deleted> {
    let limit = limit.max(1);
    let created_before = ms(retention.created_before(now));
    let (created, id) = after.map_or((-1, Vec::new()), |after| (ms(after.created_at()), blob(after.id()).to_vec()));
    let mut old = connection.prepare_cached(OLD)?;
    let mut rows = old.query(params![created_before, created, Sql::Blob(id), limit])?;
    let (mut deleted, mut looked, mut over) = (Deleted::default(), 0, Vec::new());
    while let Some(row) = rows.next()? {
        looked += 1;
        deleted.next = Some(place(row)?);
        if !row.get_ref(7)?.as_str().is_ok_and(|status| retention.statuses().iter().any(|one| one.as_str() == status)) {
            continue;
        }
        match Found::read(row) {
            Ok(found) if retention.is_over(&found.execution, now) => over.push(found.seq),
            Ok(_) => {}
            Err(Problem::Corrupt(_)) => deleted.unreadable += 1,
            Err(problem) => return Err(problem),
        }
    }
    if looked < limit {
        deleted.next = None;
    }
    for seq in over {
        remove(connection, seq)?;
        deleted.deleted += 1;
    }
    Ok(deleted)
}

/// The place of a row. One without an id is passed with all of its millisecond.
fn place(row: &Row<'_>) -> Result<Cursor> {
    let created_at = Timestamp::from_unix_ms(u64::try_from(row.get::<_, i64>(8)?).unwrap_or(0));
    Ok(read_id(row, 1)?.map_or(Cursor::end_of(created_at), |id| Cursor::new(created_at, id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Place, migrate};

    /// However much there is that is too young, or that was looked at before.
    #[test]
    fn only_what_may_have_to_go_is_looked_at() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Place::Header).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {OLD}")).unwrap();
        let plan = statement.query_map([1; 4], |row| row.get(3)).unwrap().collect::<rusqlite::Result<Vec<String>>>();
        let bounds = "(created_at,id)>(?,?) AND created_at<?";
        assert_eq!(plan.unwrap(), [format!("SEARCH executions USING INDEX executions_created ({bounds})")]);
    }
}
