//! The store: each call that writes is one transaction.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Transaction};
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row, Socket};
use tracer::Clock;
use tracer::execution::{
    Applied, Beat, Capabilities, Claim, Command, Create, Created, Execution, ExecutionId, ExecutionStatus,
    ExecutionStore, Lease, ListOptions, Page, Refusal, StoreError, Survives, Swept, Timestamp, Write,
};

use crate::hint::{Listener, Said};
use crate::row::{COLUMNS, INSERT, Inserts, UPDATE, Updates, bytes, id, list, ms, read};
use crate::schema;
use crate::trouble::{NAME, Problem};

/// How many connections there are at most.
const CONNECTIONS: usize = 8;
/// How long a call waits for a connection, and for each of its answers, unless
/// [`with_patience`](PostgresStore::with_patience) says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a transaction that was the victim of a deadlock begins again.
const ATTEMPTS: u32 = 8;
/// PostgreSQL's own limit for a value.
const TEXT_LEN_BYTES_MAX: u64 = 1_000_000_000;

type Done<T> = Result<T, Problem>;

/// Executions in PostgreSQL. Clones share the connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    clock: Option<Arc<dyn Clock>>,
    said: Arc<Said>,
    /// None: the connections are somebody else's.
    listener: Option<Arc<Listener>>,
    patience: Duration,
}

impl PostgresStore {
    /// Connects, and makes or renews the tables.
    ///
    /// # Errors
    ///
    /// `STORE` if the server cannot be reached or refuses, `SCHEMA` if a newer version has been here.
    pub async fn connect<T>(config: Config, tls: T) -> Result<Self, StoreError>
    where
        T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
        T::Stream: Sync + Send,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let listener = Listener::new(config.clone(), tls.clone());
        let pool = Pool::builder(Manager::from_config(config, tls, fast)).max_size(CONNECTIONS);
        let pool = pool.runtime(Runtime::Tokio1).wait_timeout(Some(PATIENCE)).create_timeout(Some(PATIENCE));
        let pool = pool.build().map_err(|error| Problem::Build(error).into_store("connect"))?;
        Ok(Self { listener: Some(Arc::new(listener)), ..Self::with_pool(pool).await? })
    }

    /// Uses the connections of a pool that is there already, and makes or renews the tables. Workers with this store ask
    /// for work by and by; nothing wakes them.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn with_pool(pool: Pool) -> Result<Self, StoreError> {
        let failed = |problem: Problem| problem.into_store("prepare the tables");
        let mut client = pool.get().await.map_err(|error| failed(Problem::Pool(error)))?;
        let transaction = client.transaction().await.map_err(|error| failed(error.into()))?;
        schema::migrate(&transaction).await?;
        transaction.commit().await.map_err(|error| failed(Problem::Commit(error)))?;
        drop(client);
        Ok(Self { pool, clock: None, said: Arc::default(), listener: None, patience: PATIENCE })
    }

    /// Takes the time from `clock` instead of from the server: for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// How long a call waits for a connection, and then for what it asks: 10 s unless given. A server that does not answer
    /// in time is an error that may be repeated, and its connection is closed.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Creates executions inside a transaction of one's own: they are there if it is committed.
    /// [`ExecutionManager::prepare`](tracer::execution::ExecutionManager::prepare) makes what is given here.
    ///
    /// # Errors
    ///
    /// As [`ExecutionStore::create`]; roll the transaction back.
    pub async fn create_in(&self, transaction: &Transaction<'_>, new: &[Create]) -> Result<Vec<Created>, StoreError> {
        self.create_all(transaction, new).await.map_err(|problem| problem.into_store("create executions"))
    }

    /// The store's time. Taken after the rows are locked: whoever had them before has an earlier one.
    async fn now(&self, transaction: &Transaction<'_>) -> Done<Timestamp> {
        if let Some(clock) = &self.clock {
            return Ok(Timestamp::now(&**clock));
        }
        let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let statement = transaction.prepare_cached(query).await?;
        let ms: i64 = transaction.query_one(&statement, &[]).await?.try_get(0)?;
        Ok(Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0)))
    }

    async fn create_all(&self, transaction: &Transaction<'_>, new: &[Create]) -> Done<Vec<Created>> {
        let now = self.now(transaction).await?;
        let (inserts, mut executions) = Inserts::new(new, now);
        let statement = transaction.prepare_cached(INSERT).await?;
        let inserted = transaction.query(&statement, &inserts.values()).await?;
        let mut inserted: HashMap<ExecutionId, Execution> =
            inserted.iter().filter_map(id).filter_map(|id| Some((id, executions.remove(&id)?))).collect();
        let mut created = Vec::with_capacity(new.len());
        for new in new {
            created.push(match inserted.remove(&new.id()) {
                Some(execution) => Created::New(execution),
                None => Created::Existing(existing(transaction, new).await?),
            });
        }
        let is_new = |created: &Created| matches!(created, Created::New(execution) if Said::is_worth(execution));
        if created.iter().any(is_new) {
            self.said.say(transaction).await?;
        }
        Ok(created)
    }

    async fn write_all(
        &self,
        transaction: &Transaction<'_>,
        writes: &[Write],
    ) -> Done<Vec<Result<Execution, Refusal>>> {
        let mut executions = lock(transaction, writes.iter().map(|write| write.id)).await?;
        let now = self.now(transaction).await?;
        let mut changed: Vec<ExecutionId> = Vec::new();
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let Some(execution) = executions.get_mut(&write.id) else {
                outcomes.push(Err(Refusal::NotFound));
                continue;
            };
            let applied = write.apply(execution, now.max(execution.updated_at));
            if applied == Ok(Applied::Changed) {
                changed.push(write.id);
            }
            outcomes.push(applied.map(|_| execution.clone()));
        }
        save(transaction, executions.values_mut().filter(|execution| changed.contains(&execution.id))).await?;
        if changed.iter().filter_map(|id| executions.get(id)).any(Said::is_worth) {
            self.said.say(transaction).await?;
        }
        Ok(outcomes)
    }

    async fn beat_all(&self, transaction: &Transaction<'_>, leases: &[Lease], extend: Duration) -> Done<Vec<Beat>> {
        let mut executions = lock(transaction, leases.iter().map(|lease| lease.id)).await?;
        let now = self.now(transaction).await?;
        let mut beat = |lease: &Lease| {
            let execution = executions.get_mut(&lease.id);
            execution.map_or(Beat::Lost, |execution| execution.renew(lease.epoch, extend, now))
        };
        let beats: Vec<Beat> = leases.iter().map(&mut beat).collect();
        let kept: Vec<ExecutionId> =
            leases.iter().zip(&beats).filter(|(_, beat)| **beat != Beat::Lost).map(|(lease, _)| lease.id).collect();
        save(transaction, executions.values_mut().filter(|execution| kept.contains(&execution.id))).await?;
        Ok(beats)
    }

    async fn claim_all(&self, transaction: &Transaction<'_>, claim: &Claim) -> Done<Vec<Execution>> {
        let now = self.now(transaction).await?;
        let rows = match claim.only {
            Some(id) => {
                let query = format!("SELECT {COLUMNS} FROM tracer_executions WHERE id = $1 FOR UPDATE SKIP LOCKED");
                let statement = transaction.prepare_cached(&query).await?;
                transaction.query(&statement, &[&bytes(id)]).await?
            }
            None => due(transaction, claim, now).await?,
        };
        let holder = Some((claim.worker.clone(), claim.lease));
        let mut claimed = Vec::with_capacity(rows.len());
        for mut execution in readable(transaction, &rows).await? {
            let is_wanted = execution.is_due(now) && claim.wants(&execution.type_) && claim.limit > 0;
            let start = Write::new(execution.id, Command::Start { holder: holder.clone() });
            let now = now.max(execution.updated_at);
            if is_wanted && start.apply(&mut execution, now) == Ok(Applied::Changed) {
                claimed.push(execution);
            }
        }
        save(transaction, &mut claimed).await?;
        Ok(claimed)
    }

    async fn sweep_some(&self, transaction: &Transaction<'_>, limit: u32) -> Done<Swept> {
        let now = self.now(transaction).await?;
        let query = format!(
            "SELECT {COLUMNS} FROM tracer_executions WHERE sweep_at <= $1 ORDER BY sweep_at, id LIMIT $2
             FOR UPDATE SKIP LOCKED"
        );
        let statement = transaction.prepare_cached(&query).await?;
        let rows = transaction.query(&statement, &[&ms(now), &i64::from(limit)]).await?;
        let mut swept = Swept::default();
        let mut executions = readable(transaction, &rows).await?;
        executions.retain_mut(|execution| {
            let is_changed = execution.sweep(now.max(execution.updated_at)) == Applied::Changed;
            if is_changed {
                swept.count(execution);
            }
            is_changed
        });
        save(transaction, &mut executions).await?;
        if executions.iter().any(Said::is_worth) {
            self.said.say(transaction).await?;
        }
        let next = "SELECT min(sweep_at) FROM tracer_executions WHERE sweep_at IS NOT NULL";
        let statement = transaction.prepare_cached(next).await?;
        let next: Option<i64> = transaction.query_one(&statement, &[]).await?.try_get(0)?;
        swept.next_due = next.map(|at| Timestamp::from_unix_ms(u64::try_from(at).unwrap_or(0)).since(now));
        Ok(swept)
    }

    async fn client(&self) -> Done<Object> {
        in_time(self.patience, async { self.pool.get().await.map_err(Problem::Pool) }).await
    }

    /// Reads rows outside of a transaction.
    async fn read(
        &self,
        operation: &'static str,
        query: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Execution>, StoreError> {
        let read_all = async {
            let client = self.client().await?;
            let answer = in_time(self.patience, async {
                let statement = client.prepare_cached(query).await?;
                client.query(&statement, values).await
            });
            let answer = answer.await;
            free(client, &answer);
            answer?.iter().map(read).collect::<Done<Vec<Execution>>>()
        };
        read_all.await.map_err(|problem| problem.into_store(operation))
    }
}

async fn in_time<T, E>(patience: Duration, call: impl Future<Output = Result<T, E>>) -> Done<T>
where
    Problem: From<E>,
{
    Ok(timeout(patience, call).await.map_err(|_| Problem::Slow)??)
}

/// Leaves the connection to others, unless its server has fallen silent: then it is closed.
fn free<T>(client: Object, done: &Done<T>) {
    if matches!(done, Err(Problem::Slow | Problem::SlowCommit)) {
        drop(Object::take(client));
    }
}

/// Does work in a transaction, again if others were in its way.
macro_rules! transact {
    ($store:expr, $operation:literal, |$transaction:ident| $work:expr) => {{
        let mut attempt = 1;
        loop {
            let once = async {
                let (mut client, patience) = ($store.client().await?, $store.patience);
                let done = async {
                    let transaction = in_time(patience, client.transaction()).await?;
                    let $transaction = &transaction;
                    let done = in_time(patience, $work).await?;
                    let committed = timeout(patience, transaction.commit()).await;
                    committed.map_err(|_| Problem::SlowCommit)?.map_err(Problem::Commit)?;
                    Ok(done)
                };
                let done = done.await;
                free(client, &done);
                done
            };
            let done = once.await;
            if done.is_err() {
                $store.said.nothing();
            }
            match done {
                Err::<_, Problem>(problem) if problem.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                done => break done.map_err(|problem: Problem| problem.into_store($operation)),
            }
        }
    }};
}

/// Who was there first. If it was deleted since, the transaction is to begin again, which the caller does.
async fn existing(transaction: &Transaction<'_>, new: &Create) -> Done<Execution> {
    let query = format!("SELECT {COLUMNS} FROM tracer_executions WHERE idempotency_key = $1 OR id = $2 LIMIT 1");
    let statement = transaction.prepare_cached(&query).await?;
    let found = transaction.query_opt(&statement, &[&new.idempotency_key(), &bytes(new.id())]).await?;
    found.as_ref().map_or(Err(Problem::Gone), read)
}

/// The executions with these ids, locked in the order of ids: whoever wants the same ones waits, and nobody for each
/// other.
async fn lock(
    transaction: &Transaction<'_>,
    ids: impl Iterator<Item = ExecutionId>,
) -> Done<HashMap<ExecutionId, Execution>> {
    let ids: Vec<Vec<u8>> = ids.map(bytes).collect();
    let query = format!("SELECT {COLUMNS} FROM tracer_executions WHERE id = ANY($1) ORDER BY id FOR UPDATE");
    let statement = transaction.prepare_cached(&query).await?;
    let rows = transaction.query(&statement, &[&ids]).await?;
    rows.iter().map(|row| read(row).map(|execution| (execution.id, execution))).collect()
}

async fn save(transaction: &Transaction<'_>, executions: impl IntoIterator<Item = &mut Execution>) -> Done<()> {
    let updates = Updates::new(executions);
    if !updates.is_empty() {
        let statement = transaction.prepare_cached(UPDATE).await?;
        transaction.execute(&statement, &updates.values()).await?;
    }
    Ok(())
}

/// The first that are due, locked. Each type and each priority is a step in the index of its own, so that whatever waits
/// longer is never looked at, however much it is.
const DUE: &str = "
    WITH RECURSIVE levels (type, priority) AS (
        SELECT t, (SELECT max(priority) FROM tracer_executions e WHERE e.type = t AND due_at IS NOT NULL)
        FROM unnest($1::text[]) t
        UNION ALL
        SELECT l.type, (SELECT max(e.priority) FROM tracer_executions e
                        WHERE e.type = l.type AND e.due_at IS NOT NULL AND e.priority < l.priority)
        FROM levels l WHERE l.priority IS NOT NULL
    )
    SELECT e.id, e.body, e.payload, e.result, e.checkpoints
    FROM levels l CROSS JOIN LATERAL (
        SELECT * FROM tracer_executions e
        WHERE e.type = l.type AND e.priority = l.priority AND e.due_at <= $2
        ORDER BY e.due_at, e.created_at, e.id LIMIT $3 FOR UPDATE SKIP LOCKED
    ) e
    WHERE l.priority IS NOT NULL
    ORDER BY e.priority DESC, e.due_at, e.created_at, e.id LIMIT $3";

/// The types of which something waits, one step in the index each.
const TYPES: &str = "
    WITH RECURSIVE types (type) AS (
        SELECT min(type) FROM tracer_executions WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(e.type) FROM tracer_executions e WHERE e.due_at IS NOT NULL AND e.type > t.type)
        FROM types t WHERE t.type IS NOT NULL
    )
    SELECT type FROM types WHERE type IS NOT NULL";

async fn due(transaction: &Transaction<'_>, claim: &Claim, now: Timestamp) -> Done<Vec<Row>> {
    let mut types = claim.types.clone();
    if types.is_empty() {
        let statement = transaction.prepare_cached(TYPES).await?;
        let rows = transaction.query(&statement, &[]).await?;
        types = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    }
    types.sort_unstable();
    types.dedup();
    let statement = transaction.prepare_cached(DUE).await?;
    Ok(transaction.query(&statement, &[&types, &ms(now), &i64::from(claim.limit)]).await?)
}

/// The executions in these rows. Those that cannot be read are set aside, so that they keep nobody from the others; they
/// are still found, and said to be corrupt, by their ids.
async fn readable(transaction: &Transaction<'_>, rows: &[Row]) -> Done<Vec<Execution>> {
    let mut executions = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(execution) => executions.push(execution),
            Err(Problem::Corrupt(_)) => {
                let aside = "UPDATE tracer_executions SET due_at = NULL, sweep_at = NULL WHERE id = $1";
                let id: &[u8] = row.try_get(0)?;
                transaction.execute(aside, &[&id]).await?;
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(executions)
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

impl ExecutionStore for PostgresStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            consistent_list: true,
            survives: Survives::PowerLoss,
            value_len_bytes_max: Some(TEXT_LEN_BYTES_MAX),
        }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "create executions", |transaction| self.create_all(transaction, &new))
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM tracer_executions WHERE id = $1");
        Ok(self.read("read an execution", &query, &[&bytes(*id)]).await?.pop())
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM tracer_executions WHERE idempotency_key = $1");
        Ok(self.read("read an execution", &query, &[&key]).await?.pop())
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "update executions", |transaction| self.write_all(transaction, &writes))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        let (query, values) = list(options);
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
        Ok(options.page_in_order(self.read("list executions", &query, &values).await?))
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        transact!(self, "delete an execution", |transaction| delete(transaction, *id))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        transact!(self, "claim executions", |transaction| self.claim_all(transaction, claim))
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "extend leases", |transaction| self.beat_all(transaction, leases, extend))
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        transact!(self, "look for lost leases", |transaction| self.sweep_some(transaction, limit))
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        let listening = self.listener.as_ref().map(|listener| (listener, listener.subscribe()));
        async move {
            match listening {
                Some((listener, mut heard)) => {
                    listener.start();
                    // The other end is the listener's.
                    drop(heard.changed().await);
                }
                None => std::future::pending().await,
            }
        }
    }
}

async fn delete(transaction: &Transaction<'_>, id: ExecutionId) -> Done<Result<(), Refusal>> {
    let id = bytes(id);
    let query = "SELECT status FROM tracer_executions WHERE id = $1 FOR UPDATE";
    let Some(row) = transaction.query_opt(query, &[&id]).await? else { return Ok(Err(Refusal::NotFound)) };
    let status: &str = row.try_get(0)?;
    // What is no execution may go, too.
    if let Ok(status @ ExecutionStatus::Running) = status.parse() {
        return Ok(Err(Refusal::Transition { command: "delete", status }));
    }
    transaction.execute("DELETE FROM tracer_executions WHERE id = $1", &[&id]).await?;
    Ok(Ok(()))
}
