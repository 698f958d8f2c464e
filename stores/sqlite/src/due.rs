//! What there is to do, and whether there is anything.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension, params};
use tracer::Clock;
use tracer::execution::{Claim, Execution, Swept, Timestamp};

use crate::row::{Result, blob, from_ms, ms, now};

/// What decides which goes first.
type Place = (Reverse<i64>, i64, i64, [u8; 16], i64);

/// The first that are due. Each type and each priority is a step in the index of its own, so that whatever waits longer
/// is never looked at, however much it is.
pub(crate) fn due(connection: &Connection, claim: &Claim, limit: u32, now: Timestamp) -> Result<Vec<i64>> {
    if let Some(id) = claim.only {
        let mut statement = connection.prepare_cached("SELECT seq FROM executions WHERE id = ?1 AND due_at <= ?2")?;
        let seq = statement.query_row(params![blob(id), ms(now)], |row| row.get(0)).optional()?;
        return Ok(seq.into_iter().collect());
    }
    let mut due: Vec<Place> = Vec::new();
    let types = if claim.types.is_empty() { waiting_types(connection)? } else { claim.types.clone() };
    for type_ in &types {
        let mut below = i64::MAX;
        let mut found = 0;
        while let Some(priority) = next_priority(connection, type_, below)? {
            let mut statement = connection.prepare_cached(
                "SELECT due_at, created_at, id, seq FROM executions
                 WHERE type = ?1 AND priority = ?2 AND due_at <= ?3
                 ORDER BY due_at, created_at, id LIMIT ?4",
            )?;
            let left = i64::from(limit) - found;
            let mut rows = statement.query(params![type_, priority, ms(now), left])?;
            while let Some(row) = rows.next()? {
                due.push((Reverse(priority), row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
                found += 1;
            }
            if found >= i64::from(limit) {
                break;
            }
            below = priority;
        }
    }
    due.sort_unstable();
    due.dedup();
    due.truncate(limit as usize);
    Ok(due.into_iter().map(|(.., seq)| seq).collect())
}

fn waiting_types(connection: &Connection) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT min(type) FROM executions WHERE due_at IS NOT NULL AND type > ?1")?;
    let mut types: Vec<String> = Vec::new();
    loop {
        let last = types.last().map_or("", String::as_str);
        match statement.query_row([last], |row| row.get::<_, Option<String>>(0))? {
            Some(type_) => types.push(type_),
            None => return Ok(types),
        }
    }
}

fn next_priority(connection: &Connection, type_: &str, below: i64) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT max(priority) FROM executions WHERE due_at IS NOT NULL AND type = ?1 AND priority < ?2",
    )?;
    Ok(statement.query_row(params![type_, below], |row| row.get(0))?)
}

/// What a claim gives that finds nothing; `None` if there is something.
pub(crate) fn nothing_due(connection: &Connection, claim: &Claim, clock: &dyn Clock) -> Result<Option<Vec<Execution>>> {
    Ok(due(connection, claim, 1, now(connection, clock)?)?.is_empty().then(Vec::new))
}

/// The first whose lease or time allowed is over.
pub(crate) fn lost(connection: &Connection, limit: u32, now: Timestamp) -> Result<Vec<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT seq FROM executions WHERE sweep_at <= ?1 ORDER BY sweep_at, id LIMIT ?2")?;
    let seqs = statement.query_map(params![ms(now), limit], |row| row.get(0))?;
    Ok(seqs.collect::<rusqlite::Result<_>>()?)
}

/// What a sweep gives that finds nothing; `None` if there is something.
pub(crate) fn nothing_lost(connection: &Connection, clock: &dyn Clock) -> Result<Option<Swept>> {
    let (now, next) = (now(connection, clock)?, next_sweep(connection)?);
    let next_due = next.map(|at| at.since(now));
    Ok(next.is_none_or(|at| at > now).then(|| Swept { next_due, ..Swept::default() }))
}

pub(crate) fn next_sweep(connection: &Connection) -> Result<Option<Timestamp>> {
    let mut next = connection.prepare_cached("SELECT min(sweep_at) FROM executions WHERE sweep_at IS NOT NULL")?;
    let next: Option<i64> = next.query_row([], |row| row.get(0))?;
    Ok(next.map(from_ms))
}
