//! The store: each call that writes is one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Params, Row, Value};
use tokio::time::timeout;
use tracer::Clock;
use tracer::execution::{
    Applied, Beat, Capabilities, Claim, Command, Create, Created, Cursor, Deleted, Execution, ExecutionId,
    ExecutionStatus, ExecutionStore, Lease, ListOptions, Page, Parts, Refusal, Retention, StoreError, Survives, Swept,
    Timestamp, Trouble, Write,
};

use crate::line::{Lines, PATIENCE, in_time};
use crate::row::{self, COLUMNS, Found, LOCKED, TO_CHANGE, Values, bytes, marks, ms, read};
use crate::trouble::{NAME, Problem, is_duplicate, refused};
use crate::{old, schema};

/// How often a transaction that was the victim of a deadlock begins again.
const ATTEMPTS: u32 = 16;
/// How many rows one statement looks for by their ids.
const IDS_MAX: usize = 1000;

pub(crate) type Done<T> = Result<T, Problem>;

/// Executions in MySQL or MariaDB. Clones share the connections.
#[derive(Clone)]
pub struct MysqlStore {
    lines: Arc<Lines>,
    clock: Option<Arc<dyn Clock>>,
    patience: Duration,
    /// The server's `max_allowed_packet`, and a margin.
    packet_len_bytes_max: usize,
    survives: Survives,
}

impl MysqlStore {
    /// Connects, and makes or renews the tables in the connection's database.
    ///
    /// # Errors
    ///
    /// `STORE` if the server cannot be reached, refuses, is too old, or does not answer in [`PATIENCE`], `SCHEMA` if a newer
    /// version has been here.
    pub async fn connect(opts: impl Into<Opts>) -> Result<Self, StoreError> {
        let failed = |problem: Problem| problem.into_store("prepare the tables");
        let lines = Lines::new(opts.into());
        let mut line = lines.get("DO 1", PATIENCE).await.map_err(failed)?;
        let settings = "SELECT VERSION(), @@max_allowed_packet, @@innodb_flush_log_at_trx_commit";
        let settings: Option<(String, usize, u32)> =
            in_time(PATIENCE, line.query_first(settings)).await.map_err(failed)?;
        let (version, packet, flush) = settings.unwrap_or_default();
        if is_too_old(&version) {
            let message = format!("expected MySQL 8.0 or MariaDB 10.6, or newer, found {version}");
            return Err(refused("prepare the tables", Trouble::Refused, message));
        }
        schema::migrate(&mut line, PATIENCE).await?;
        line.free();
        Ok(Self {
            lines: Arc::new(lines),
            clock: None,
            patience: PATIENCE,
            packet_len_bytes_max: packet.saturating_sub(1 << 16),
            survives: if flush == 1 { Survives::PowerLoss } else { Survives::Kill },
        })
    }

    /// Takes the time from `clock` instead of from the server: for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// How long a call waits for a connection, and for its answer: [`PATIENCE`] unless given.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn value_len_bytes_max(&self) -> usize {
        self.packet_len_bytes_max / 4
    }

    /// The store's time. Taken after the rows are locked: whoever had them before has an earlier one.
    async fn now(&self, line: &mut impl Queryable) -> Done<Timestamp> {
        if let Some(clock) = &self.clock {
            return Ok(Timestamp::now(&**clock));
        }
        // UTC: an hour that a zone has twice must not be seen twice.
        let query = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000";
        let ms: Option<u64> = line.query_first(query).await?;
        Ok(Timestamp::from_unix_ms(ms.unwrap_or(0)))
    }

    pub(crate) async fn create_all(&self, line: &mut impl Queryable, new: &[Create]) -> Done<Vec<Created>> {
        let now = self.now(line).await?;
        let mut executions: Vec<Execution> = new.iter().map(|new| new.clone().at(now)).collect();
        // Two batches with the same keys wait for each other in one direction only.
        executions.sort_by(|a, b| (&a.idempotency_key, a.id).cmp(&(&b.idempotency_key, b.id)));
        let limit = self.value_len_bytes_max();
        let rows = executions.iter_mut().map(|new| row::new(new, limit)).collect::<Done<Vec<_>>>()?;
        let inserted = self.insert(line, rows).await?;
        let mut created: HashMap<ExecutionId, Execution> = HashMap::new();
        for (execution, is_new) in executions.into_iter().zip(inserted) {
            if is_new {
                created.insert(execution.id, execution);
            }
        }
        let mut answers = Vec::with_capacity(new.len());
        for new in new {
            answers.push(match created.remove(&new.id()) {
                Some(execution) => Created::New(execution),
                None => Created::Existing(existing(line, new).await?),
            });
        }
        Ok(answers)
    }

    /// Inserts rows, and says which of them were not there. A statement of which one row was there inserts none; then they
    /// are tried one by one.
    async fn insert(&self, line: &mut impl Queryable, rows: Vec<Values>) -> Done<Vec<bool>> {
        let mut inserted = Vec::with_capacity(rows.len());
        for rows in row::statements(rows, self.packet_len_bytes_max) {
            let count = rows.len();
            match line.exec_drop(row::insert(count), positional(rows.concat())).await {
                Ok(()) => inserted.extend(vec![true; count]),
                Err(error) if is_duplicate(&error) && count == 1 => inserted.push(false),
                Err(error) if is_duplicate(&error) => {
                    for row in rows {
                        match line.exec_drop(row::insert(1), positional(row)).await {
                            Ok(()) => inserted.push(true),
                            Err(error) if is_duplicate(&error) => inserted.push(false),
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(inserted)
    }

    /// Applies writes. Unless the answers are to be `whole`, they have no payload, and only checkpoints of `writes`.
    pub(crate) async fn write_all(
        &self,
        line: &mut impl Queryable,
        whole: bool,
        writes: &[Write],
    ) -> Done<Vec<Result<Execution, Refusal>>> {
        let columns = if whole { LOCKED } else { TO_CHANGE };
        let mut executions = lock(line, columns, writes.iter().map(|write| write.id)).await?;
        if whole {
            read_checkpoints(line, executions.values_mut()).await?;
        }
        let now = self.now(line).await?;
        let mut changed: HashSet<ExecutionId> = HashSet::new();
        let mut checkpoints: BTreeMap<(ExecutionId, String), String> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let Some(Found { execution, .. }) = executions.get_mut(&write.id) else {
                outcomes.push(Err(Refusal::NotFound));
                continue;
            };
            let applied = write.apply(execution, now.max(execution.updated_at));
            if applied == Ok(Applied::Changed) {
                changed.insert(write.id);
                let checkpoint = Parts::of_checkpoint(&write.command);
                checkpoints.extend(checkpoint.map(|(name, value)| ((write.id, name), value)));
            }
            outcomes.push(applied.map(|_| execution.clone()));
        }
        self.keep(line, &mut executions, checkpoints).await?;
        self.save(line, executions.values().filter(|found| changed.contains(&found.execution.id))).await?;
        Ok(outcomes)
    }

    /// Keeps checkpoints of executions that are locked.
    async fn keep(
        &self,
        line: &mut impl Queryable,
        executions: &mut HashMap<ExecutionId, Found>,
        checkpoints: BTreeMap<(ExecutionId, String), String>,
    ) -> Done<()> {
        let limit = self.value_len_bytes_max();
        let mut rows = Vec::with_capacity(checkpoints.len());
        for ((id, name), value) in checkpoints {
            // Of one that has none, none is locked: that would be the gap in which others want to put theirs.
            let has_some = executions.get(&id).is_some_and(|found| found.kept_len > 0);
            let before: Option<u64> =
                if has_some { line.exec_first(KEPT_LEN, (bytes(id), &name)).await? } else { None };
            if let Some(found) = executions.get_mut(&id) {
                let len = (name.len() + value.len()) as u64;
                found.kept_len = (found.kept_len + len).saturating_sub(before.unwrap_or(0));
                // They are read as one text.
                let kept = usize::try_from(found.kept_len).unwrap_or(usize::MAX);
                if kept > limit {
                    return Err(Problem::TooLarge { found: kept, limit });
                }
            }
            rows.push(row::checkpoint(id, name, value));
        }
        for rows in row::statements(rows, self.packet_len_bytes_max) {
            line.exec_drop(row::keep(rows.len()), positional(rows.concat())).await?;
        }
        Ok(())
    }

    async fn beat_all(&self, line: &mut Conn, leases: &[Lease], extend: Duration) -> Done<Vec<Beat>> {
        let mut executions = lock(line, TO_CHANGE, leases.iter().map(|lease| lease.id)).await?;
        let now = self.now(line).await?;
        let mut held: HashSet<ExecutionId> = HashSet::new();
        let mut beats = Vec::with_capacity(leases.len());
        for lease in leases {
            let found = executions.get_mut(&lease.id);
            let beat = found.map_or(Beat::Lost, |found| found.execution.renew(lease.epoch, extend, now));
            if beat != Beat::Lost {
                held.insert(lease.id);
            }
            beats.push(beat);
        }
        self.save(line, executions.values().filter(|found| held.contains(&found.execution.id))).await?;
        Ok(beats)
    }

    /// Does this to each that is due.
    async fn claim_all(&self, line: &mut Conn, claim: &Claim, command: &Command) -> Done<Vec<Execution>> {
        let now = self.now(line).await?;
        let rows = match claim.only {
            Some(id) => {
                let query = format!("SELECT {LOCKED} FROM tracer_executions WHERE id = ? FOR UPDATE SKIP LOCKED");
                line.exec(query, (bytes(id),)).await?
            }
            None => due(line, claim, now).await?,
        };
        let mut claimed = Vec::with_capacity(rows.len());
        for mut found in readable(line, rows).await? {
            let execution = &mut found.execution;
            let is_wanted = execution.is_due(now) && claim.wants(&execution.type_) && claim.limit > 0;
            let start = Write::new(execution.id, command.clone());
            let now = now.max(execution.updated_at);
            if is_wanted && start.apply(execution, now) == Ok(Applied::Changed) {
                claimed.push(found);
            }
        }
        self.save(line, &claimed).await?;
        read_checkpoints(line, claimed.iter_mut()).await?;
        Ok(claimed.into_iter().map(|found| found.execution).collect())
    }

    async fn sweep_some(&self, line: &mut Conn, limit: u32) -> Done<Swept> {
        let now = self.now(line).await?;
        let rows: Vec<Row> = line.exec(SWEEP, (ms(now), limit)).await?;
        let mut swept = Swept::default();
        let mut executions = readable(line, rows).await?;
        executions.retain_mut(|Found { execution, .. }| {
            let is_changed = execution.sweep(now.max(execution.updated_at)) == Applied::Changed;
            if is_changed {
                swept.count(execution);
            }
            is_changed
        });
        self.save(line, &executions).await?;
        let next: Option<i64> = line.exec_first(NEXT_SWEEP, ()).await?;
        swept.next_due = next.map(|at| Timestamp::from_unix_ms(u64::try_from(at).unwrap_or(0)).since(now));
        Ok(swept)
    }

    async fn save(&self, line: &mut impl Queryable, executions: impl IntoIterator<Item = &Found>) -> Done<()> {
        let limit = self.value_len_bytes_max();
        let rows = executions.into_iter().map(|found| row::changed(found, limit));
        for rows in row::statements(rows.collect::<Done<_>>()?, self.packet_len_bytes_max) {
            line.exec_drop(row::update(rows.len()), positional(rows.concat())).await?;
        }
        Ok(())
    }

    /// Reads rows outside of a transaction.
    async fn read<T>(
        &self,
        operation: &'static str,
        query: &str,
        values: Values,
        of: impl Fn(Row) -> Done<T>,
    ) -> Result<Vec<T>, StoreError> {
        let read_all = async {
            let mut line = self.lines.get("DO 1", self.patience).await?;
            let rows: Vec<Row> = in_time(self.patience, line.exec(query, positional(values))).await?;
            line.free();
            rows.into_iter().map(of).collect::<Done<Vec<T>>>()
        };
        read_all.await.map_err(|problem| problem.into_store(operation))
    }
}

/// Does work in a transaction, again if others were in its way.
macro_rules! transact {
    ($store:expr, $operation:literal, |$line:ident| $work:expr) => {{
        let (lines, patience) = (&$store.lines, $store.patience);
        let mut attempt = 1;
        loop {
            let once = async {
                let mut begun = lines.begin(patience).await?;
                let $line: &mut Conn = &mut begun;
                match timeout(patience, $work).await.unwrap_or(Err(Problem::Slow)) {
                    Ok(done) => begun.commit(patience).await.map(|()| done),
                    Err(problem) => {
                        if problem.is_answer() {
                            begun.rollback(patience).await;
                        }
                        Err(problem)
                    }
                }
            };
            match once.await {
                Err::<_, Problem>(problem) if problem.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                done => break done.map_err(|problem| problem.into_store($operation)),
            }
        }
    }};
}

/// Before `SKIP LOCKED`.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found < if version.contains("MariaDB") { (10, 6) } else { (8, 0) }
}

fn positional(values: Values) -> Params {
    if values.is_empty() { Params::Empty } else { Params::Positional(values) }
}

/// Who was there first: also if it was committed after this transaction has begun, in whatever isolation. If it was deleted
/// since, the transaction is to begin again, which the caller does.
async fn existing(line: &mut impl Queryable, new: &Create) -> Done<Execution> {
    let query = format!("SELECT {COLUMNS} FROM tracer_executions e WHERE idempotency_key = ? LOCK IN SHARE MODE");
    let mut found: Option<Row> = None;
    if let Some(key) = new.idempotency_key() {
        found = line.exec_first(query, (key,)).await?;
    }
    if found.is_none() {
        let query = format!("SELECT {COLUMNS} FROM tracer_executions e WHERE id = ? LOCK IN SHARE MODE");
        found = line.exec_first(query, (bytes(new.id()),)).await?;
    }
    Ok(read(found.ok_or(Problem::Gone)?)?.execution)
}

/// The executions with these ids, locked in the order of ids: whoever wants the same ones waits, and nobody for each
/// other.
async fn lock(
    line: &mut impl Queryable,
    columns: &str,
    ids: impl Iterator<Item = ExecutionId>,
) -> Done<HashMap<ExecutionId, Found>> {
    let mut ids: Vec<ExecutionId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut executions = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS_MAX) {
        let marks = marks(ids.len());
        let query = format!("SELECT {columns} FROM tracer_executions WHERE id IN ({marks}) ORDER BY id FOR UPDATE");
        let ids: Values = ids.iter().map(|id| bytes(*id).into()).collect();
        let rows: Vec<Row> = line.exec(query, positional(ids)).await?;
        for row in rows {
            let found = read(row)?;
            executions.insert(found.execution.id, found);
        }
    }
    Ok(executions)
}

/// Reads what executions, which are locked, have kept.
async fn read_checkpoints(line: &mut impl Queryable, found: impl Iterator<Item = &mut Found>) -> Done<()> {
    for found in found.filter(|found| found.kept_len > 0) {
        let query = format!("SELECT {COLUMNS} FROM tracer_executions e WHERE id = ?");
        let row: Option<Row> = line.exec_first(query, (bytes(found.execution.id),)).await?;
        found.execution.checkpoints = read(row.ok_or(Problem::Gone)?)?.execution.checkpoints;
    }
    Ok(())
}

/// How many bytes the checkpoint with this name has.
const KEPT_LEN: &str =
    "SELECT LENGTH(name) + LENGTH(value) FROM tracer_checkpoints WHERE id = ? AND name = ? FOR UPDATE";

// Where a query locks, it says which index it goes by: MySQL prefers to look at all rows of a small table, and sorts them; then
// it would lock all that are due, of which it gives a few.

const SWEEP: &str = "
    SELECT id, body, NULL, result, NULL, kept_len FROM tracer_executions FORCE INDEX (tracer_executions_sweep)
    WHERE sweep_at <= ? ORDER BY sweep_at, id LIMIT ? FOR UPDATE SKIP LOCKED";

const NEXT_SWEEP: &str = "SELECT sweep_at FROM tracer_executions WHERE sweep_at IS NOT NULL ORDER BY sweep_at LIMIT 1";

/// The first that are due of one type and one priority, locked: a part of the index that has nothing else, so that whatever
/// waits longer is never looked at, however much it is.
const DUE: &str = "
    SELECT id, body, payload, result, NULL, kept_len, due_at, created_at
    FROM tracer_executions FORCE INDEX (tracer_executions_due)
    WHERE due_type = ? AND urgency = ? AND due_at <= ?
    ORDER BY due_at, created_at, id LIMIT ? FOR UPDATE SKIP LOCKED";

/// One step in the index each.
const NEXT_TYPE: &str = "
    SELECT due_type FROM tracer_executions WHERE due_type > ? ORDER BY due_type LIMIT 1";
const FIRST_URGENCY: &str = "
    SELECT urgency FROM tracer_executions WHERE due_type = ? ORDER BY urgency LIMIT 1";
const NEXT_URGENCY: &str = "
    SELECT urgency FROM tracer_executions WHERE due_type = ? AND urgency > ? ORDER BY urgency LIMIT 1";

/// The types of which something waits.
async fn types(line: &mut Conn) -> Done<Vec<Vec<u8>>> {
    let mut types: Vec<Vec<u8>> = Vec::new();
    loop {
        let last = types.last().cloned().unwrap_or_default();
        let Some(next) = line.exec_first(NEXT_TYPE, (last,)).await? else { return Ok(types) };
        types.push(next);
    }
}

async fn due(line: &mut Conn, claim: &Claim, now: Timestamp) -> Done<Vec<Row>> {
    let mut types: Vec<Vec<u8>> = claim.types.iter().map(|type_| type_.clone().into_bytes()).collect();
    if types.is_empty() {
        types = self::types(line).await?;
    }
    types.sort_unstable();
    types.dedup();
    // Of each type, the urgency that comes next.
    let mut levels: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
    for type_ in types {
        let first: Option<i64> = line.exec_first(FIRST_URGENCY, (&type_,)).await?;
        if let Some(first) = first {
            levels.entry(first).or_default().push(type_);
        }
    }
    let limit = claim.limit as usize;
    let mut rows: Vec<Row> = Vec::new();
    while rows.len() < limit {
        let Some((urgency, types)) = levels.pop_first() else { break };
        let left = limit - rows.len();
        let mut level: Vec<Row> = Vec::new();
        for type_ in types {
            let found: Vec<Row> = line.exec(DUE, (&type_, urgency, ms(now), left)).await?;
            let is_done = found.len() == left;
            level.extend(found);
            if !is_done {
                let next: Option<i64> = line.exec_first(NEXT_URGENCY, (&type_, urgency)).await?;
                if let Some(next) = next {
                    levels.entry(next).or_default().push(type_);
                }
            }
        }
        level.sort_by_key(|row| (row.get::<i64, _>(6), row.get::<i64, _>(7), row.get::<Vec<u8>, _>(0)));
        level.truncate(left);
        rows.extend(level);
    }
    Ok(rows)
}

/// The executions in these rows. Those that cannot be read are set aside, so that they keep nobody from the others; they
/// are still found, and said to be corrupt, by their ids.
async fn readable(line: &mut Conn, rows: Vec<Row>) -> Done<Vec<Found>> {
    let mut executions = Vec::with_capacity(rows.len());
    for row in rows {
        let id: Value = row::raw_id(&row);
        match read(row) {
            Ok(found) => executions.push(found),
            Err(Problem::Corrupt(_)) => {
                let aside = "UPDATE tracer_executions SET due_type = NULL, due_at = NULL, sweep_at = NULL WHERE id = ?";
                line.exec_drop(aside, (id,)).await?;
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(executions)
}

async fn delete(line: &mut Conn, id: ExecutionId) -> Done<Result<(), Refusal>> {
    let id = bytes(id);
    let query = "SELECT status FROM tracer_executions WHERE id = ? FOR UPDATE";
    let status: Option<Vec<u8>> = line.exec_first(query, (&id,)).await?;
    let Some(status) = status else { return Ok(Err(Refusal::NotFound)) };
    // What is no execution may go, too.
    if status == ExecutionStatus::Running.as_str().as_bytes() {
        return Ok(Err(Refusal::Transition { command: "delete", status: ExecutionStatus::Running }));
    }
    line.exec_drop("DELETE FROM tracer_checkpoints WHERE id = ?", (&id,)).await?;
    line.exec_drop("DELETE FROM tracer_executions WHERE id = ?", (&id,)).await?;
    Ok(Ok(()))
}

impl std::fmt::Debug for MysqlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MysqlStore")
            .field("lines", &self.lines)
            .field("survives", &self.survives)
            .finish_non_exhaustive()
    }
}

impl ExecutionStore for MysqlStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            consistent_list: true,
            survives: self.survives,
            value_len_bytes_max: Some(self.value_len_bytes_max() as u64),
        }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "create executions", |line| self.create_all(line, &new))
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM tracer_executions e WHERE id = ?");
        Ok(self.read("read an execution", &query, vec![bytes(*id).into()], row::execution).await?.pop())
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM tracer_executions e WHERE idempotency_key = ?");
        Ok(self.read("read an execution", &query, vec![key.into()], row::execution).await?.pop())
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "update executions", |line| self.write_all(line, true, &writes))
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = transact!(self, "update executions", |line| self.write_all(line, false, &writes))?;
        Ok(outcomes.into_iter().map(|outcome| outcome.map(drop)).collect())
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        let (query, values) = row::list(options);
        Ok(options.page_in_order(self.read("list executions", &query, values, row::listed).await?))
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        transact!(self, "delete an execution", |line| delete(line, *id))
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        transact!(self, "delete what has ended", |line| async {
            let now = self.now(line).await?;
            old::delete_ended(line, retention, after, limit, now).await
        })
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        transact!(self, "claim executions", |line| self.claim_all(line, claim, &claim.start()))
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        transact!(self, "reserve executions", |line| self.claim_all(line, claim, &claim.reservation()))
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "extend leases", |line| self.beat_all(line, leases, extend))
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let read = async {
            let mut line = self.lines.get("DO 1", self.patience).await?;
            let now = timeout(self.patience, self.now(&mut *line)).await.unwrap_or(Err(Problem::Slow))?;
            line.free();
            Ok(now)
        };
        read.await.map(Some).map_err(|problem: Problem| problem.into_store("read the time"))
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        transact!(self, "look for lost leases", |line| self.sweep_some(line, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::is_too_old;

    #[test]
    fn servers_without_skip_locked_are_too_old() {
        for version in ["8.0.36", "8.4.0-commercial", "9.1.0", "10.6.0-MariaDB", "11.4.2-MariaDB-ubu2404"] {
            assert!(!is_too_old(version), "{version}");
        }
        for version in ["", "5.7.44-log", "10.5.28-MariaDB", "10.3.39-MariaDB-0+deb10u2"] {
            assert!(is_too_old(version), "{version}");
        }
    }
}
