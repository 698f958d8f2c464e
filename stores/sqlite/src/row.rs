//! Executions as rows, and the statements on them. Everything here runs inside a transaction of its caller's.

use std::collections::HashMap;
use std::error::Error;

use rusqlite::limits::Limit;
use rusqlite::types::{ToSql, Value as Sql};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Row, Statement, params};
use tracer::Clock;
use tracer::execution::{
    Applied, Beat, Claim, Command, Create, Created, Cursor, Execution, ExecutionId, ExecutionStatus, Lease,
    ListOptions, Listed, Page, Parts, Refusal, Swept, Timestamp, Write,
};

use crate::due::{due, lost, next_sweep};
use crate::trouble::{Corrupt, Problem, TEXT_LEN_BYTES_MAX};

pub(crate) type Result<T> = std::result::Result<T, Problem>;

/// What [`Found::read`] reads, by what a row is found by.
macro_rules! select {
    ($($behind:literal)?) => {
        concat!(
            "SELECT seq, id, body, payload, result, CASE WHEN kept_len > 0 THEN (
                 SELECT '{' || group_concat(c.key || ':' || c.value, ',') || '}' FROM checkpoints c WHERE c.seq = e.seq
             ) END, kept_len, created_at FROM executions e WHERE " $(, $behind)?
        )
    };
}

/// An execution, and where it is.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) seq: i64,
    /// How many bytes of checkpoints there are, whether they were read or not.
    kept_len: i64,
    /// About how many bytes it has.
    len_bytes: usize,
    pub(crate) execution: Execution,
}

/// The store's time, which never falls behind what was written: the file remembers the latest at which anything was.
pub(crate) fn now(connection: &Connection, clock: &dyn Clock) -> Result<Timestamp> {
    let latest: i64 = connection.prepare_cached("SELECT latest_ms FROM clock")?.query_row([], |row| row.get(0))?;
    Ok(Timestamp::now(clock).max(from_ms(latest)))
}

/// Does work at the store's time, which is remembered if that has written anything.
pub(crate) fn at_now<T>(
    connection: &Connection,
    clock: &dyn Clock,
    work: impl FnOnce(Timestamp) -> Result<T>,
) -> Result<T> {
    let now = now(connection, clock)?;
    let before = connection.total_changes();
    let done = work(now)?;
    if connection.total_changes() != before {
        connection.prepare_cached("UPDATE clock SET latest_ms = ?1 WHERE latest_ms < ?1")?.execute([ms(now)])?;
    }
    Ok(done)
}

pub(crate) fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0))
}

pub(crate) fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_ms()).unwrap_or(i64::MAX)
}

#[expect(clippy::big_endian_bytes, reason = "in this order ids sort in SQLite as they do here")]
pub(crate) fn blob(id: ExecutionId) -> [u8; 16] {
    id.get().to_be_bytes()
}

fn corrupt(id: Option<ExecutionId>, problem: impl Into<Box<dyn Error + Send + Sync>>) -> Problem {
    Problem::Corrupt(Corrupt { id, problem: problem.into() })
}

impl Found {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self> {
        let id = read_id(row, 1)?;
        let text = |column| row.get_ref(column)?.as_str_or_null().map_err(|error| corrupt(id, error));
        let body = text(2)?.unwrap_or_default();
        let parts = Parts { body, payload: text(3)?, result: text(4)?, checkpoints: text(5)? };
        let values = [parts.payload, parts.result, parts.checkpoints];
        let len_bytes = body.len() + values.into_iter().flatten().map(str::len).sum::<usize>();
        let named = id.ok_or_else(|| corrupt(None, "its id is not one"))?;
        let execution = parts.join(named).map_err(|error| corrupt(id, error))?;
        Ok(Self { seq: row.get(0)?, kept_len: row.get(6)?, len_bytes, execution })
    }
}

pub(crate) fn read_id(row: &Row<'_>, column: usize) -> Result<Option<ExecutionId>> {
    let bytes = row.get_ref(column)?.as_blob().ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    Ok(bytes.map(u128::from_be_bytes).and_then(ExecutionId::new))
}

const BY_SEQ: &str = select!("seq = ?1");
const BY_ID: &str = select!("id = ?1");
const BY_KEY: &str = select!("idempotency_key = ?1");
/// What a change depends on: no rule looks at the payload or the checkpoints.
const TO_CHANGE: &str = "SELECT seq, id, body, NULL, result, NULL, kept_len FROM executions WHERE id = ?1";
const TO_SWEEP: &str = "SELECT seq, id, body, NULL, result, NULL, kept_len FROM executions WHERE seq = ?1";

fn find(connection: &Connection, query: &str, value: impl ToSql) -> Result<Option<Found>> {
    first(&mut *connection.prepare_cached(query)?, value)
}

fn first(query: &mut Statement<'_>, value: impl ToSql) -> Result<Option<Found>> {
    let mut rows = query.query([value])?;
    rows.next()?.map(Found::read).transpose()
}

pub(crate) fn find_by_id(connection: &Connection, id: ExecutionId) -> Result<Option<Execution>> {
    Ok(find(connection, BY_ID, blob(id))?.map(|found| found.execution))
}

pub(crate) fn find_by_key(connection: &Connection, key: &str) -> Result<Option<Execution>> {
    Ok(find(connection, BY_KEY, key)?.map(|found| found.execution))
}

/// Executions that were claimed here, with their bodies as written: most are ended from here, and need not be read again
/// for that. A body that is the same has the same version, whoever wrote it, so what is remembered is never stale.
#[derive(Default)]
pub(crate) struct Claimed(HashMap<ExecutionId, (String, Found)>);

impl Claimed {
    /// How many are remembered. Those that are not ended here are forgotten in the end, with all others.
    const LEN_MAX: usize = 1024;
    /// Larger ones are read again: this is no place for them.
    const LEN_BYTES_MAX: usize = 8192;

    fn remember(&mut self, body: String, found: &Found) {
        if found.len_bytes > Self::LEN_BYTES_MAX {
            return;
        }
        if self.0.len() >= Self::LEN_MAX {
            self.0.clear();
        }
        self.0.insert(found.execution.id, (body, found.clone()));
    }

    /// What is remembered is changed as asked and saved, if the row is still as it was; else nothing is done.
    fn write(&mut self, save: &mut Save<'_>, write: &Write, now: Timestamp) -> Result<Option<Execution>> {
        let Some((body, mut found)) = self.0.remove(&write.id) else { return Ok(None) };
        let is_changed = write.apply(&mut found.execution, now) == Ok(Applied::Changed);
        let is_saved = is_changed && save.change(&mut found, &write.command, Some(&body))?;
        Ok(is_saved.then_some(found.execution))
    }
}

/// What is together in a row.
const ROW: &str = "payload, result and what is known of it";

fn len<const N: usize>(texts: [&str; N]) -> i64 {
    i64::try_from(texts.map(str::len).iter().sum::<usize>()).unwrap_or(i64::MAX / 4)
}

/// Why a row was not written that has about so many bytes.
fn unwritten(connection: &Connection, error: rusqlite::Error, found: impl FnOnce() -> Result<i64>) -> Problem {
    let too_large = || {
        let limit = connection.limit(Limit::SQLITE_LIMIT_LENGTH)?.into();
        Ok(Problem::TooLarge { what: ROW, found: found()?, limit })
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::TooBig) => too_large().unwrap_or_else(|problem: Problem| problem),
        _ => error.into(),
    }
}

/// When it may be claimed, if it waits.
fn due_at(execution: &Execution) -> Option<i64> {
    execution.status.is_waiting().then(|| ms(execution.run_at))
}

pub(crate) fn create(
    connection: &Connection,
    new: impl IntoIterator<Item = Create>,
    now: Timestamp,
) -> Result<Vec<Created>> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO executions
            (id, type, status, priority, created_at, due_at, sweep_at, idempotency_key, parent_id, body, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
    )?;
    let mut one = |new: Create| {
        let execution = new.at(now);
        let Parts { body, payload, .. } = Parts::of(&execution);
        let key = execution.idempotency_key.as_deref();
        let inserted = insert.execute(params![
            blob(execution.id),
            execution.type_,
            execution.status.as_str(),
            execution.priority,
            ms(execution.created_at),
            due_at(&execution),
            key,
            execution.parent_id.map(blob),
            body,
            payload,
        ]);
        let inserted = inserted.map_err(|error| {
            unwritten(connection, error, || Ok(len([&body, payload.as_deref().unwrap_or_default()])))
        })?;
        if inserted == 1 {
            return Ok(Created::New(execution));
        }
        let by_key = key.map(|key| find_by_key(connection, key)).transpose()?.flatten();
        let existing = by_key.map_or_else(|| find_by_id(connection, execution.id), |existing| Ok(Some(existing)))?;
        existing.map(Created::Existing).ok_or_else(|| corrupt(Some(execution.id), "it is there, and is not found"))
    };
    new.into_iter().map(&mut one).collect()
}

/// Writes changes: prepared once for all of a batch.
struct Save<'c> {
    connection: &'c Connection,
    execution: CachedStatement<'c>,
}

impl<'c> Save<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self> {
        let execution = connection.prepare_cached(
            "UPDATE executions SET status = ?2, due_at = ?3, sweep_at = ?4, body = ?5, result = ?6, kept_len = ?7
             WHERE seq = ?1 AND (?8 IS NULL OR body = ?8)",
        )?;
        Ok(Self { connection, execution })
    }

    /// Writes what has changed, whatever is in the row; gives the body that was written.
    fn write(&mut self, found: &Found) -> Result<String> {
        Ok(self.execute(found, None)?.1)
    }

    /// Writes what a command has changed, if the body in the row is still `over`, where that is given; whether it was.
    fn change(&mut self, found: &mut Found, command: &Command, over: Option<&str>) -> Result<bool> {
        let Some((key, value)) = Parts::of_checkpoint(command) else { return Ok(self.execute(found, over)?.0 == 1) };
        let before: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT octet_length(key) + octet_length(value) FROM checkpoints WHERE seq = ?1 AND key = ?2",
            )?
            .query_row(params![found.seq, key], |row| row.get(0))
            .optional()?;
        found.kept_len = found.kept_len + len([&key, &value]) - before.unwrap_or(0);
        if found.kept_len > TEXT_LEN_BYTES_MAX {
            let (what, found, limit) = ("checkpoints", found.kept_len, TEXT_LEN_BYTES_MAX);
            return Err(Problem::TooLarge { what, found, limit });
        }
        if self.execute(found, over)?.0 != 1 {
            return Ok(false);
        }
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO checkpoints (seq, key, value) VALUES (?1, ?2, ?3)")?
            .execute(params![found.seq, key, value])?;
        Ok(true)
    }

    fn execute(&mut self, found: &Found, over: Option<&str>) -> Result<(usize, String)> {
        let execution = &found.execution;
        let Parts { body, result, .. } = Parts::without_payload(execution);
        let changed = self.execution.execute(params![
            found.seq,
            execution.status.as_str(),
            due_at(execution),
            execution.sweep_at().map(ms),
            body,
            result,
            found.kept_len,
            over,
        ]);
        let changed = changed.map_err(|error| {
            unwritten(self.connection, error, || {
                let payload = "SELECT coalesce(octet_length(payload), 0) FROM executions WHERE seq = ?1";
                let payload: i64 = self.connection.query_row(payload, [found.seq], |row| row.get(0))?;
                Ok(payload + len([&body, result.as_deref().unwrap_or_default()]))
            })
        })?;
        Ok((changed, body))
    }
}

/// Applies writes, one after the other; the inner results are the refusals.
pub(crate) fn update(
    connection: &Connection,
    claimed: &mut Claimed,
    writes: &[Write],
    now: Timestamp,
) -> Result<Vec<std::result::Result<Execution, Refusal>>> {
    change_all(connection, claimed, BY_ID, writes, now)
}

/// Likewise, where nobody wants to see what comes of it.
pub(crate) fn settle(
    connection: &Connection,
    claimed: &mut Claimed,
    writes: &[Write],
    now: Timestamp,
) -> Result<Vec<std::result::Result<(), Refusal>>> {
    let outcomes = change_all(connection, claimed, TO_CHANGE, writes, now)?;
    Ok(outcomes.into_iter().map(|outcome| outcome.map(drop)).collect())
}

fn change_all(
    connection: &Connection,
    claimed: &mut Claimed,
    by_id: &str,
    writes: &[Write],
    now: Timestamp,
) -> Result<Vec<std::result::Result<Execution, Refusal>>> {
    let mut save = Save::prepare(connection)?;
    let mut one = |write: &Write| {
        if let Some(execution) = claimed.write(&mut save, write, now)? {
            return Ok(Ok(execution));
        }
        let Some(mut found) = find(connection, by_id, blob(write.id))? else { return Ok(Err(Refusal::NotFound)) };
        match write.apply(&mut found.execution, now) {
            Ok(Applied::Changed) => drop(save.change(&mut found, &write.command, None)?),
            Ok(Applied::Unchanged) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        Ok(Ok(found.execution))
    };
    writes.iter().map(&mut one).collect()
}

pub(crate) fn delete(connection: &Connection, id: ExecutionId) -> Result<std::result::Result<(), Refusal>> {
    let row = connection
        .prepare_cached("SELECT seq, status FROM executions WHERE id = ?1")?
        .query_row([blob(id)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    let Some((seq, status)) = row else { return Ok(Err(Refusal::NotFound)) };
    // What is no execution may go, too.
    if let Ok(status @ ExecutionStatus::Running) = status.parse() {
        return Ok(Err(Refusal::Transition { command: "delete", status }));
    }
    remove(connection, seq)?;
    Ok(Ok(()))
}

/// Takes a row away, with what was kept.
pub(crate) fn remove(connection: &Connection, seq: i64) -> Result<()> {
    connection.prepare_cached("DELETE FROM checkpoints WHERE seq = ?1")?.execute([seq])?;
    connection.prepare_cached("DELETE FROM executions WHERE seq = ?1")?.execute([seq])?;
    Ok(())
}

pub(crate) fn claim(
    connection: &Connection,
    remembered: &mut Claimed,
    claim: &Claim,
    command: &Command,
    now: Timestamp,
) -> Result<Vec<Execution>> {
    let seqs = due(connection, claim, claim.limit, now)?;
    let mut claimed = Vec::with_capacity(seqs.len());
    let (mut by_seq, mut save) = (connection.prepare_cached(BY_SEQ)?, Save::prepare(connection)?);
    for seq in seqs {
        let Some(mut found) = readable(connection, &mut by_seq, seq)? else { continue };
        let is_wanted = found.execution.is_due(now) && claim.wants(&found.execution.type_) && claim.limit > 0;
        let start = Write::new(found.execution.id, command.clone());
        if is_wanted && start.apply(&mut found.execution, now) == Ok(Applied::Changed) {
            let body = save.write(&found)?;
            remembered.remember(body, &found);
            claimed.push(found.execution);
        }
    }
    Ok(claimed)
}

/// The execution in this row. One that cannot be read is set aside, so that it keeps nobody from the others; it is still
/// found, and said to be corrupt, by its id.
fn readable(connection: &Connection, by_seq: &mut Statement<'_>, seq: i64) -> Result<Option<Found>> {
    match first(by_seq, seq) {
        Err(Problem::Corrupt(_)) => {
            let mut aside =
                connection.prepare_cached("UPDATE executions SET due_at = NULL, sweep_at = NULL WHERE seq = ?1")?;
            aside.execute([seq])?;
            Ok(None)
        }
        found => found,
    }
}

pub(crate) fn heartbeat(
    connection: &Connection,
    lease: &Lease,
    extend: std::time::Duration,
    now: Timestamp,
) -> Result<Beat> {
    let Some(mut found) = find(connection, TO_CHANGE, blob(lease.id))? else { return Ok(Beat::Lost) };
    let beat = found.execution.renew(lease.epoch, extend, now);
    if beat != Beat::Lost {
        Save::prepare(connection)?.write(&found)?;
    }
    Ok(beat)
}

pub(crate) fn sweep(connection: &Connection, limit: u32, now: Timestamp) -> Result<Swept> {
    let seqs = lost(connection, limit, now)?;
    let mut swept = Swept::default();
    let (mut by_seq, mut save) = (connection.prepare_cached(TO_SWEEP)?, Save::prepare(connection)?);
    for seq in seqs {
        let Some(mut found) = readable(connection, &mut by_seq, seq)? else { continue };
        if found.execution.sweep(now) == Applied::Changed {
            save.write(&found)?;
            swept.count(&found.execution);
        }
    }
    swept.next_due = next_sweep(connection)?.map(|at| at.since(now));
    Ok(swept)
}

pub(crate) fn list(connection: &Connection, options: &ListOptions) -> Result<Page> {
    let (query, values) = listing(options);
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        listed.push(match (Found::read(row), read_id(row, 1)?) {
            (Ok(found), _) => found.execution.into(),
            (Err(Problem::Corrupt(_)), Some(id)) => Listed::Unreadable(Cursor::new(from_ms(row.get(7)?), id)),
            (Err(problem), _) => return Err(problem),
        });
    }
    Ok(options.page_in_order(listed))
}

/// The query of a list, and its values.
fn listing(options: &ListOptions) -> (String, Vec<Sql>) {
    let (filter, values) = filter(options);
    let order = match (options.newest_first, options.selects_by_ids()) {
        (false, false) => "created_at, id",
        (true, false) => "created_at DESC, id DESC",
        // What has a sign is found by no index.
        (false, true) => "+created_at, +id",
        (true, true) => "+created_at DESC, +id DESC",
    };
    let limit = options.page_len() + 1;
    let query = format!("{} {filter} ORDER BY {order} LIMIT {limit}", select!());
    (query, values)
}

/// The conditions of a list, and their values.
fn filter(options: &ListOptions) -> (String, Vec<Sql>) {
    let mut conditions = vec!["TRUE".to_owned()];
    let mut values: Vec<Sql> = Vec::new();
    let mut any_of = |column: &str, wanted: Vec<String>| {
        if !wanted.is_empty() {
            conditions.push(format!("{column} IN ({})", vec!["?"; wanted.len()].join(", ")));
            values.extend(wanted.into_iter().map(Sql::Text));
        }
    };
    any_of("status", options.statuses.iter().map(ToString::to_string).collect());
    any_of("type", options.types.clone());
    let mut is = |condition: &str, more: Vec<Sql>| {
        conditions.push(condition.to_owned());
        values.extend(more);
    };
    if options.is_of_dead_letters() {
        // As the index says it, or it is not used.
        is("status IN ('failed', 'timed_out')", Vec::new());
    }
    if let Some(parent) = options.parent {
        is("parent_id = ?", vec![Sql::Blob(blob(parent).to_vec())]);
    }
    if let Some((from, to)) = options.ids {
        let range = if options.selects_by_ids() { "id BETWEEN ? AND ?" } else { "+id BETWEEN ? AND ?" };
        is(range, [from, to].map(|id| Sql::Blob(blob(id).to_vec())).into());
    }
    if let Some(from) = options.created_from {
        is("created_at >= ?", vec![Sql::Integer(ms(from))]);
    }
    if let Some(before) = options.created_before {
        is("created_at < ?", vec![Sql::Integer(ms(before))]);
    }
    if let Some(after) = options.after {
        let place = vec![Sql::Integer(ms(after.created_at())), Sql::Blob(blob(after.id()).to_vec())];
        is(if options.newest_first { "(created_at, id) < (?, ?)" } else { "(created_at, id) > (?, ?)" }, place);
    }
    (conditions.join(" AND "), values)
}

#[cfg(test)]
mod tests {
    use tracer::ManualClock;
    use tracer::execution::{ExecutionManager, MemoryStore, NewExecution};

    use super::*;
    use crate::schema::{Place, migrate};

    const LIMIT: i32 = 20_000;

    /// A file whose rows may have so many bytes.
    fn small() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Place::Header).unwrap();
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LIMIT).unwrap();
        connection
    }

    fn new(payload_len: usize) -> Create {
        let manager = ExecutionManager::new(MemoryStore::default());
        manager.prepare(NewExecution::new("work").payload("p".repeat(payload_len))).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::now(&ManualClock::new(std::time::Duration::from_secs(1_800_000_000)))
    }

    /// How many bytes it says that were found.
    fn found(refused: &Result<impl std::fmt::Debug>) -> i64 {
        let &Err(Problem::TooLarge { what, found, limit }) = refused else { panic!("{refused:?}") };
        assert_eq!((what, limit), (ROW, i64::from(LIMIT)));
        found
    }

    #[test]
    fn lists_go_by_their_indexes() {
        let connection = small();
        let id = |number| ExecutionId::new(number).unwrap();
        let all = ListOptions::new;
        for (options, index) in [
            (all(), "executions_created"),
            (all().status(ExecutionStatus::Failed).status(ExecutionStatus::Completed), "executions_created"),
            (all().dead_letters(), "executions_dead"),
            (all().status(ExecutionStatus::TimedOut).type_("work"), "executions_dead"),
            (all().parent(id(1)), "executions_parent"),
            (all().ids(id(1)..=id(9)), "sqlite_autoindex_executions"),
            (all().ids(id(1)..=id(u128::MAX)), "executions_created"),
        ] {
            for options in [options.clone(), options.newest_first().after(Cursor::new(now(), id(5)))] {
                let (query, values) = listing(&options);
                let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
                let plan: Vec<String> = statement
                    .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
                    .unwrap()
                    .collect::<std::result::Result<_, _>>()
                    .unwrap();
                let plan = plan.join("; ");
                assert!(plan.contains(index), "{options:?}: {plan}");
                assert_eq!(plan.contains("TEMP B-TREE"), options.selects_by_ids(), "{options:?}: {plan}");
            }
        }
    }

    #[test]
    fn a_payload_that_is_too_large_is_named_with_its_limit() {
        let connection = small();
        create(&connection, [new(10_000)], now()).unwrap();
        let found = found(&create(&connection, [new(20_000)], now()));
        assert!((20_002..20_600).contains(&found), "{found}");
    }

    #[test]
    fn a_result_that_is_too_large_beside_its_payload_is_named_with_its_limit() {
        let connection = small();
        let id = create(&connection, [new(10_000)], now()).unwrap().remove(0).into_execution().id;
        let write = |command| update(&connection, &mut Claimed::default(), &[Write::new(id, command)], now());
        write(Command::Start { holder: None }).unwrap()[0].as_ref().unwrap();
        let complete = |len| write(Command::Complete { result: "r".repeat(len).into() });
        let found = found(&complete(10_000));
        assert!((20_004..20_600).contains(&found), "{found}");
        assert!(complete(5_000).unwrap()[0].is_ok());
    }
}
