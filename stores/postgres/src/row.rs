//! Executions as rows: read, and written many at once.
//!
//! An execution is a row of `tracer_executions`, which is written when it is created and when it ends, and, for as long
//! as it has not ended, one of `tracer_queue`, which is narrow. A claim writes the latter only: how the body is from then
//! on follows from who has claimed it, when, and the rules.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracer::execution::{
    Applied, Command, Create, Cursor, Execution, ExecutionId, LeaseTerms, ListOptions, Listed, Parts, Timestamp, Write,
};

use crate::trouble::{Corrupt, Problem};

/// What [`read`] reads of a whole execution.
macro_rules! columns {
    () => {
        "e.id, e.body, e.payload, e.result, CASE WHEN e.kept_len > 0 THEN (
             SELECT '{' || string_agg(c.key || ':' || c.value, ',') || '}' FROM tracer_checkpoints c WHERE c.id = e.id
         ) END, q.version, q.claimed_at, q.lease_until, q.worker"
    };
}
pub(crate) use columns;

pub(crate) const COLUMNS: &str = columns!();
/// The same of what a change depends on: no rule looks at the payload or the checkpoints.
pub(crate) const TO_CHANGE: &str =
    "e.id, e.body, NULL::text, e.result, NULL::text, q.version, q.claimed_at, q.lease_until, q.worker";
/// Of dead letters only.
const DEAD: &str = "tracer_dead d JOIN tracer_executions e ON e.id = d.id LEFT JOIN tracer_queue q ON q.id = e.id";
/// From where.
pub(crate) const TABLES: &str = "tracer_executions e LEFT JOIN tracer_queue q ON q.id = e.id";

pub(crate) fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_ms()).unwrap_or(i64::MAX)
}

pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0))
}

#[expect(clippy::big_endian_bytes, reason = "in this order ids sort in PostgreSQL as they do here")]
pub(crate) fn bytes(id: ExecutionId) -> Vec<u8> {
    id.get().to_be_bytes().to_vec()
}

/// The id in the first column.
#[expect(clippy::big_endian_bytes, reason = "as it is written")]
pub(crate) fn id(row: &Row) -> Option<ExecutionId> {
    let bytes: &[u8] = row.try_get(0).ok()?;
    ExecutionId::new(u128::from_be_bytes(bytes.try_into().ok()?))
}

/// The execution in a row with [`COLUMNS`].
pub(crate) fn read(row: &Row) -> Result<Execution, Problem> {
    let id = id(row);
    let corrupt = |problem| Problem::Corrupt(Corrupt { id, problem });
    let parts = Parts::<&str> {
        body: row.try_get(1)?,
        payload: row.try_get(2)?,
        result: row.try_get(3)?,
        checkpoints: row.try_get(4)?,
    };
    let named = id.ok_or_else(|| corrupt("its id is not one".into()))?;
    let mut execution = parts.join(named).map_err(|error| corrupt(error.into()))?;
    let (claimed, until): (Option<i64>, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
    if let (Some(at), Some(until)) = (claimed, until) {
        let holder = LeaseTerms { worker: row.try_get::<_, String>(8)?.into(), until: timestamp(until) };
        claim(&mut execution, holder, timestamp(at)).map_err(|refusal| corrupt(refusal.into()))?;
    }
    if let (Some(until), Some(lease)) = (until, &mut execution.lease) {
        lease.until = timestamp(until);
    }
    let version: Option<i64> = row.try_get(5)?;
    if version.is_some_and(|version| u64::try_from(version) != Ok(execution.version)) {
        return Err(corrupt("its row in the queue is of another version".into()));
    }
    Ok(execution)
}

/// What is in a row of [`list`].
pub(crate) fn listed(row: &Row) -> Result<Listed, Problem> {
    match (read(row), id(row)) {
        (Ok(execution), _) => Ok(execution.into()),
        (Err(Problem::Corrupt(_)), Some(id)) => Ok(Listed::Unreadable(Cursor::new(timestamp(row.try_get(9)?), id))),
        (Err(problem), _) => Err(problem),
    }
}

/// What the body is after a claim that only the queue tells of.
fn claim(execution: &mut Execution, holder: LeaseTerms, at: Timestamp) -> Result<(), String> {
    let lease = holder.until.since(at);
    let start = Write::new(execution.id, Command::Start { holder: Some((holder.worker, lease)) });
    match start.apply(execution, at.max(execution.updated_at)) {
        Ok(Applied::Changed) => Ok(()),
        Ok(Applied::Unchanged) => Err("a claim changes it in nothing".into()),
        Err(refusal) => Err(format!("it was claimed, and cannot be: {refusal}")),
    }
}

/// How much one statement may bring, in bytes: more than the largest value, and less than the 1 GiB for which the server
/// closes the connection before it has read any of it.
const LEN_BYTES_MAX: usize = 1_050_000_000;
/// What a row has beside its texts, at most.
const FIXED_LEN_BYTES: usize = 256;

/// How much a statement brings so far.
#[derive(Default)]
struct Len(usize);

impl Len {
    /// One more row, with these texts.
    fn add<'a>(&mut self, texts: impl IntoIterator<Item = &'a String>) -> Result<(), Problem> {
        self.0 += FIXED_LEN_BYTES + texts.into_iter().map(String::len).sum::<usize>();
        if self.0 > LEN_BYTES_MAX { Err(Problem::TooLarge { found: self.0, limit: LEN_BYTES_MAX }) } else { Ok(()) }
    }
}

/// New executions, column by column: one statement inserts all of them.
#[derive(Default)]
pub(crate) struct Inserts {
    ids: Vec<Vec<u8>>,
    types: Vec<String>,
    statuses: Vec<&'static str>,
    created: Vec<i64>,
    keys: Vec<Option<String>>,
    parents: Vec<Option<Vec<u8>>>,
    bodies: Vec<String>,
    payloads: Vec<Option<String>>,
    priorities: Vec<i16>,
    due: Vec<i64>,
    timeouts: Vec<Option<i64>>,
    len: Len,
}

/// Inserts the records of new executions and what of them goes into the queue, with the parameters of [`Inserts::values`].
/// Fails if one is there already.
pub(crate) const INSERT: &str = "
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::text[],
                             $8::text[], $9::smallint[], $10::bigint[], $11::bigint[])
            AS n (id, type, status, created_at, idempotency_key, parent_id, body, payload, priority, due_at, timeout_ms)
    ), created AS (
        INSERT INTO tracer_executions (id, type, body_status, created_at, idempotency_key, parent_id, body, payload)
        SELECT id, type, status, created_at, idempotency_key, parent_id, body, payload FROM n
    )
    INSERT INTO tracer_queue (id, type, priority, created_at, due_at, timeout_ms, version, epoch)
    SELECT id, type, priority, created_at, due_at, timeout_ms, 1, 0 FROM n";

/// Inserts the records alone, with those of [`Inserts::records`]. Those that are there already are left alone, and not among
/// the ids that come back.
pub(crate) const INSERT_NEW: &str = "
    INSERT INTO tracer_executions (id, type, body_status, created_at, idempotency_key, parent_id, body, payload)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::text[],
                         $8::text[])
    ON CONFLICT DO NOTHING RETURNING id";

impl Inserts {
    /// In the order of keys, then ids: two batches with the same keys wait for each other in one direction only.
    pub(crate) fn new(new: &[Create], now: Timestamp) -> Result<(Self, HashMap<ExecutionId, Execution>), Problem> {
        let mut executions: Vec<Execution> = new.iter().map(|new| new.clone().at(now)).collect();
        executions.sort_by(|a, b| (&a.idempotency_key, a.id).cmp(&(&b.idempotency_key, b.id)));
        executions.dedup_by_key(|execution| execution.id);
        let mut inserts = Self::default();
        for execution in &executions {
            let Parts { body, payload, .. } = Parts::of(execution);
            let named = [&body, &execution.type_].into_iter().chain(&execution.idempotency_key);
            inserts.len.add(named.chain(&payload))?;
            inserts.ids.push(bytes(execution.id));
            inserts.types.push(execution.type_.clone());
            inserts.statuses.push(execution.status.as_str());
            inserts.created.push(ms(execution.created_at));
            inserts.keys.push(execution.idempotency_key.clone());
            inserts.parents.push(execution.parent_id.map(bytes));
            inserts.bodies.push(body);
            inserts.payloads.push(payload);
            inserts.priorities.push(execution.priority);
            inserts.due.push(ms(execution.run_at));
            inserts.timeouts.push(timeout_ms(execution));
        }
        Ok((inserts, executions.into_iter().map(|execution| (execution.id, execution)).collect()))
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 11] {
        let [ids, types, statuses, created, keys, parents, bodies, payloads] = self.records();
        let queue: [&(dyn ToSql + Sync); 3] = [&self.priorities, &self.due, &self.timeouts];
        let [priorities, due, timeouts] = queue;
        [ids, types, statuses, created, keys, parents, bodies, payloads, priorities, due, timeouts]
    }

    pub(crate) fn records(&self) -> [&(dyn ToSql + Sync); 8] {
        [&self.ids, &self.types, &self.statuses, &self.created, &self.keys, &self.parents, &self.bodies, &self.payloads]
    }
}

/// So that nothing that it is added to is too large a number.
pub(crate) fn duration_ms(duration: Duration) -> i64 {
    const MAX: i64 = i64::MAX / 4;
    i64::try_from(duration.as_millis()).unwrap_or(MAX).min(MAX)
}

fn timeout_ms(execution: &Execution) -> Option<i64> {
    execution.timeout.map(duration_ms)
}

/// Changed executions, column by column: one statement writes all of them.
#[derive(Default)]
pub(crate) struct Updates {
    ids: Vec<Vec<u8>>,
    statuses: Vec<&'static str>,
    bodies: Vec<String>,
    results: Vec<Option<String>>,
    kept: Vec<i64>,
    len: Len,
}

/// Says how many bytes of checkpoints each has.
pub(crate) const UPDATE: &str = "
    UPDATE tracer_executions e
    SET body_status = n.status, body = n.body, result = n.result, kept_len = e.kept_len + n.kept
    FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[]) AS n (id, status, body, result, kept)
    WHERE e.id = n.id
    RETURNING e.kept_len";

impl Updates {
    /// `kept`: by how many bytes its checkpoints have become more.
    pub(crate) fn push(&mut self, execution: &Execution, kept: i64) -> Result<(), Problem> {
        let Parts { body, result, .. } = Parts::without_payload(execution);
        self.len.add([&body].into_iter().chain(&result))?;
        self.ids.push(bytes(execution.id));
        self.statuses.push(execution.status.as_str());
        self.bodies.push(body);
        self.results.push(result);
        self.kept.push(kept);
        Ok(())
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.ids, &self.statuses, &self.bodies, &self.results, &self.kept]
    }
}

/// Checkpoints, column by column; each key of an execution once.
#[derive(Default)]
pub(crate) struct Checkpoints {
    ids: Vec<Vec<u8>>,
    keys: Vec<String>,
    values: Vec<String>,
    len: Len,
}

/// Says by how many bytes those of each execution, which is locked, have become more.
pub(crate) const KEEP: &str = "
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[]) AS n (id, key, value)
    ), before AS MATERIALIZED (
        SELECT c.id, sum(octet_length(c.key) + octet_length(c.value)) AS len
        FROM n JOIN tracer_checkpoints c ON c.id = n.id AND c.key = n.key GROUP BY c.id
    ), kept AS (
        INSERT INTO tracer_checkpoints (id, key, value) SELECT id, key, value FROM n
        ON CONFLICT (id, key) DO UPDATE SET value = excluded.value
    )
    SELECT n.id, n.len - coalesce(before.len, 0)
    FROM (SELECT id, sum(octet_length(key) + octet_length(value)) AS len FROM n GROUP BY id) n
        LEFT JOIN before ON before.id = n.id";

impl Checkpoints {
    pub(crate) fn push(&mut self, id: ExecutionId, key: String, value: String) -> Result<(), Problem> {
        self.len.add([&key, &value])?;
        self.ids.push(bytes(id));
        self.keys.push(key);
        self.values.push(value);
        Ok(())
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.ids, &self.keys, &self.values]
    }
}

/// Ends of attempts that were claimed here and changed by nobody since, column by column.
#[derive(Default)]
pub(crate) struct Ends {
    ids: Vec<Vec<u8>>,
    versions: Vec<i64>,
    claimed: Vec<i64>,
    statuses: Vec<&'static str>,
    bodies: Vec<String>,
    results: Vec<Option<String>>,
    len: Len,
}

/// Those that were changed meanwhile are left alone, and not among the ids that come back. The row in the queue is the
/// lock: whoever writes to an execution that has not ended has it.
pub(crate) const END: &str = "
    WITH ended AS (
        DELETE FROM tracer_queue q
        USING unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
            AS n (id, version, claimed_at, status, body, result)
        WHERE q.id = n.id AND q.version = n.version AND q.claimed_at = n.claimed_at
        RETURNING n.id, n.status, n.body, n.result
    )
    UPDATE tracer_executions e SET body_status = ended.status, body = ended.body, result = ended.result
    FROM ended WHERE e.id = ended.id
    RETURNING e.id";

impl Ends {
    /// `version` and `claimed` are those of the claim.
    pub(crate) fn push(&mut self, execution: &Execution, version: u64, claimed: Timestamp) -> Result<(), Problem> {
        let Parts { body, result, .. } = Parts::without_payload(execution);
        self.len.add([&body].into_iter().chain(&result))?;
        self.ids.push(bytes(execution.id));
        self.versions.push(i64::try_from(version).unwrap_or(i64::MAX));
        self.claimed.push(ms(claimed));
        self.statuses.push(execution.status.as_str());
        self.bodies.push(body);
        self.results.push(result);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 6] {
        [&self.ids, &self.versions, &self.claimed, &self.statuses, &self.bodies, &self.results]
    }
}

/// Executions as rows of the queue, column by column.
#[derive(Default)]
pub(crate) struct Queue {
    ids: Vec<Vec<u8>>,
    types: Vec<String>,
    priorities: Vec<i16>,
    created: Vec<i64>,
    due: Vec<Option<i64>>,
    sweep: Vec<Option<i64>>,
    leases: Vec<Option<i64>>,
    timeouts: Vec<Option<i64>>,
    deadlines: Vec<Option<i64>>,
    cancels: Vec<bool>,
    versions: Vec<i64>,
    epochs: Vec<i64>,
}

/// Whatever the queue says of them is in their bodies now, claims included.
pub(crate) const ENQUEUE: &str = "
    INSERT INTO tracer_queue (id, type, priority, created_at, due_at, sweep_at, lease_until, timeout_ms, deadline_at,
                              cancel_requested, version, epoch)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bigint[], $9::bigint[], $10::boolean[], $11::bigint[], $12::bigint[])
    ON CONFLICT (id) DO UPDATE
    SET due_at = excluded.due_at, sweep_at = excluded.sweep_at, lease_until = excluded.lease_until,
        deadline_at = excluded.deadline_at, cancel_requested = excluded.cancel_requested, version = excluded.version,
        epoch = excluded.epoch, claimed_at = NULL, worker = NULL";

impl Queue {
    pub(crate) fn push(&mut self, execution: &Execution) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.ids.push(bytes(execution.id));
        self.types.push(execution.type_.clone());
        self.priorities.push(execution.priority);
        self.created.push(ms(execution.created_at));
        self.due.push(execution.status.is_waiting().then(|| ms(execution.run_at)));
        self.sweep.push(execution.sweep_at().map(ms));
        self.leases.push(execution.lease.as_ref().map(|lease| ms(lease.until)));
        self.timeouts.push(timeout_ms(execution));
        self.deadlines.push(execution.deadline().map(ms));
        self.cancels.push(execution.cancel_requested);
        self.versions.push(number(execution.version));
        self.epochs.push(number(execution.epoch));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.ids,
            &self.types,
            &self.priorities,
            &self.created,
            &self.due,
            &self.sweep,
            &self.leases,
            &self.timeouts,
            &self.deadlines,
            &self.cancels,
            &self.versions,
            &self.epochs,
        ]
    }
}

/// The query of a list, and its values.
pub(crate) fn list(options: &ListOptions) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
    let mut values: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
    let mut conditions = vec!["true".to_owned()];
    let mut is = |condition: &str, value: Box<dyn ToSql + Sync + Send>| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("${}", values.len())));
    };
    if !options.statuses.is_empty() {
        let statuses: Vec<&str> = options.statuses.iter().map(|status| status.as_str()).collect();
        is("CASE WHEN q.claimed_at IS NULL THEN e.body_status ELSE 'running' END = ANY(?)", Box::new(statuses));
        // What has not ended is found in the queue, however much has ended.
        if !options.statuses.iter().any(|status| status.is_terminal()) {
            is("q.version >= ?", Box::new(0_i64));
        }
    }
    if !options.types.is_empty() {
        is("e.type = ANY(?)", Box::new(options.types.clone()));
    }
    if let Some(parent) = options.parent {
        is("e.parent_id = ?", Box::new(bytes(parent)));
    }
    if let Some((from, to)) = options.ids {
        is("e.id >= ?", Box::new(bytes(from)));
        is("e.id <= ?", Box::new(bytes(to)));
    }
    let has_better = options.parent.is_some() || options.selects_by_ids();
    let (tables, place) = if options.is_of_dead_letters() && !has_better { (DEAD, "d") } else { (TABLES, "e") };
    if let Some(from) = options.created_from {
        is(&format!("{place}.created_at >= ?"), Box::new(ms(from)));
    }
    if let Some(before) = options.created_before {
        is(&format!("{place}.created_at < ?"), Box::new(ms(before)));
    }
    let (sign, order) = if options.newest_first { ("<", " DESC") } else { (">", "") };
    if let Some(after) = options.after {
        values.push(Box::new(ms(after.created_at())));
        values.push(Box::new(bytes(after.id())));
        let last = values.len();
        conditions.push(format!("({place}.created_at, {place}.id) {sign} (${}, ${last})", last - 1));
    }
    let (conditions, limit) = (conditions.join(" AND "), options.page_len() + 1);
    let query = format!(
        "SELECT {COLUMNS}, {place}.created_at FROM {tables} WHERE {conditions}
         ORDER BY {place}.created_at{order}, {place}.id{order} LIMIT {limit}"
    );
    (query, values)
}

#[cfg(test)]
mod tests {
    use tracer::execution::{ExecutionManager, MemoryStore, NewExecution};

    use super::*;

    #[test]
    fn statements_that_bring_too_much_are_known_before_they_are_sent() {
        let nearly_full = || Len(LEN_BYTES_MAX - 2000);
        let new =
            ExecutionManager::new(MemoryStore::default()).prepare(NewExecution::new("work")).expect("it is right");
        let small = new.at(timestamp(0));
        let large = "x".repeat(2000);
        let id = small.id;
        let mut with_result = small.clone();
        with_result.result = Some(large.clone().into());
        for (execution, value, fits) in [(small, String::new(), true), (with_result, large, false)] {
            let changed = Updates { len: nearly_full(), ..Updates::default() }.push(&execution, 0);
            let ended = Ends { len: nearly_full(), ..Ends::default() }.push(&execution, 1, timestamp(0));
            let kept = Checkpoints { len: nearly_full(), ..Checkpoints::default() }.push(id, "key".to_owned(), value);
            for pushed in [changed, ended, kept] {
                assert!(if fits { pushed.is_ok() } else { matches!(pushed, Err(Problem::TooLarge { .. })) });
            }
        }
    }
}
