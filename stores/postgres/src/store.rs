//! The store: each call that writes is one transaction, of one statement where that is enough.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Metrics, Object, Pool, RecyclingMethod, Runtime,
    Transaction,
};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row, Socket};
use tracer::Clock;
use tracer::execution::{
    Applied, Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStore,
    Lease, ListOptions, Page, Parts, Refusal, Retention, StoreError, Survives, Swept, Timestamp, Write, Written,
};

use crate::claimed::{Claimed, Kept};
use crate::hint::{Listener, NOTIFY, Said};
use crate::own::InTransaction;
use crate::queue::{BEAT, CLAIM, CLAIM_ONE, DUE, NOW, TYPES, UNCLAIM, WAITS};
use crate::row::{
    COLUMNS, END, ENQUEUE, Ends, INSERT, INSERT_NEW, Inserts, Queue, TABLES, TO_CHANGE, bytes, duration_ms, id, list,
    listed, ms, read, timestamp,
};
use crate::transaction::{TEXT_LEN_BYTES_MAX, delete, existing, keep, lock, readable, save};
use crate::trouble::{Done, NAME, Problem};
use crate::{old, schema};

/// How many connections there are at most.
const CONNECTIONS: usize = 8;
/// How long a call waits for a connection, and for each of its answers, unless
/// [`with_patience`](PostgresStore::with_patience) says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a transaction that was the victim of a deadlock begins again.
const ATTEMPTS: u32 = 8;
/// For connections of our own. Each statement has one plan that is right, which goes by the indexes: it is made once, and
/// not anew with each call, whatever the server believes of how many rows there are. None is worth to be compiled.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off";

/// Executions in PostgreSQL. Clones share the connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    clock: Option<Arc<dyn Clock>>,
    said: Arc<Said>,
    claimed: Arc<Claimed>,
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
        let settle = Hook::async_fn(|client: &mut ClientWrapper, _: &Metrics| {
            Box::pin(async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) })
        });
        let pool = pool
            .post_create(settle)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE));
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
        let client = in_time(PATIENCE, async { pool.get().await.map_err(Problem::of_first) });
        let mut client = client.await.map_err(failed)?;
        let migrated = async {
            let transaction = in_time(PATIENCE, client.transaction()).await?;
            schema::migrate(&transaction, PATIENCE).await?;
            commit(transaction, PATIENCE).await
        };
        let migrated = migrated.await;
        free(client, &migrated);
        migrated.map_err(failed)?;
        Ok(Self {
            pool,
            clock: None,
            said: Arc::default(),
            claimed: Arc::default(),
            listener: None,
            patience: PATIENCE,
        })
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

    /// The time, if it is not the server's.
    fn own_now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| Timestamp::now(&**clock))
    }

    /// The store's time. Taken after the rows are locked: whoever had them before has an earlier one.
    async fn now(&self, client: &Object) -> Done<Timestamp> {
        if let Some(now) = self.own_now() {
            return Ok(now);
        }
        let statement = client.prepare_cached(NOW).await?;
        Ok(timestamp(client.query_one(&statement, &[]).await?.try_get(0)?))
    }

    /// Likewise, in a transaction of the caller's.
    async fn now_in(&self, own: &impl InTransaction) -> Done<Timestamp> {
        if let Some(now) = self.own_now() {
            return Ok(now);
        }
        let statement = own.statement(NOW).await?;
        Ok(timestamp(own.transaction().query_one(&statement, &[]).await?.try_get(0)?))
    }

    /// Says that something is due, once it is committed.
    async fn hint_in(&self, own: &impl InTransaction) -> Done<()> {
        if self.said.is_time() {
            let statement = own.statement(NOTIFY).await?;
            own.transaction().execute(&statement, &[]).await?;
        }
        Ok(())
    }

    /// Creates all, in a transaction of the caller's.
    pub(crate) async fn create_all(&self, own: &impl InTransaction, new: &[Create]) -> Done<Vec<Created>> {
        let now = self.now_in(own).await?;
        let (inserts, mut executions) = Inserts::new(new, now)?;
        let inserted = own.transaction().query(&own.statement(INSERT_NEW).await?, &inserts.records()).await?;
        let mut inserted: HashMap<ExecutionId, Execution> =
            inserted.iter().filter_map(id).filter_map(|id| Some((id, executions.remove(&id)?))).collect();
        let mut queue = Queue::default();
        for execution in inserted.values() {
            queue.push(execution);
        }
        if !queue.is_empty() {
            own.transaction().execute(&own.statement(ENQUEUE).await?, &queue.values()).await?;
        }
        let mut created = Vec::with_capacity(new.len());
        for new in new {
            created.push(match inserted.remove(&new.id()) {
                Some(execution) => Created::New(execution),
                None => Created::Existing(existing(own, new).await?),
            });
        }
        let is_new = |created: &Created| matches!(created, Created::New(execution) if Said::is_worth(execution));
        if created.iter().any(is_new) {
            self.hint_in(own).await?;
        }
        Ok(created)
    }

    /// Creates all with one statement; `None` if one of them is there already, and nothing was created.
    async fn create_new(&self, client: &Object, new: &[Create]) -> Done<Option<Vec<Created>>> {
        let now = in_time(self.patience, self.now(client)).await?;
        let (inserts, mut executions) = Inserts::new(new, now)?;
        if executions.len() < new.len() {
            // One is there already, as it were: it is in the batch twice.
            return Ok(None);
        }
        match self.write(client, INSERT, &inserts.values()).await {
            Err(Problem::Postgres(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => return Ok(None),
            done => done?,
        };
        if executions.values().any(Said::is_worth) {
            self.hint(client).await;
        }
        Ok(new.iter().map(|new| executions.remove(&new.id()).map(Created::New)).collect())
    }

    /// Says that something is due, once it is committed. That is no reason for an error.
    async fn hint(&self, client: &Object) {
        let said = in_time(self.patience, self.said.say(client)).await;
        if said.is_err() {
            self.said.nothing();
        }
    }

    /// Applies writes. The answers are what `columns` read.
    pub(crate) async fn write_all(
        &self,
        own: &impl InTransaction,
        columns: &str,
        writes: &[Write],
    ) -> Done<Vec<Result<Execution, Refusal>>> {
        let mut executions = lock(own, columns, writes.iter().map(|write| write.id)).await?;
        let now = self.now_in(own).await?;
        let mut changed: HashMap<ExecutionId, i64> = HashMap::new();
        let mut checkpoints: BTreeMap<(ExecutionId, String), String> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            let Some(execution) = executions.get_mut(&write.id) else {
                outcomes.push(Err(Refusal::NotFound));
                continue;
            };
            let applied = write.apply(execution, now.max(execution.updated_at));
            if applied == Ok(Applied::Changed) {
                changed.insert(write.id, 0);
                let checkpoint = Parts::of_checkpoint(&write.command);
                checkpoints.extend(checkpoint.map(|(key, value)| ((write.id, key), value)));
            }
            outcomes.push(applied.map(|_| execution.clone()));
        }
        changed.extend(keep(own, checkpoints).await?);
        let changed: Vec<_> = changed.iter().filter_map(|(id, kept)| Some((executions.get(id)?, *kept))).collect();
        save(own, changed.iter().copied()).await?;
        if changed.iter().any(|(execution, _)| Said::is_worth(execution)) {
            self.hint_in(own).await?;
        }
        Ok(outcomes)
    }

    /// Ends those attempts that were claimed here and that nobody has changed since, with one statement and without reading
    /// them again. The others are left to [`write_all`](Self::write_all), which knows what to say of them.
    async fn end_all(&self, client: &Object, writes: &[Write]) -> Done<HashSet<ExecutionId>> {
        let mut kept: Vec<(&Write, Kept)> =
            writes.iter().filter_map(|write| Some((write, self.claimed.take(write.id)?))).collect();
        if kept.is_empty() {
            return Ok(HashSet::new());
        }
        // As transactions lock them.
        kept.sort_by_key(|(write, _)| write.id);
        let now = in_time(self.patience, self.now(client)).await?;
        let mut ends = Ends::default();
        for (write, Kept { mut execution, at }) in kept {
            let claimed = execution.version;
            let now = now.max(execution.updated_at);
            let applied = write.apply(&mut execution, now);
            if applied == Ok(Applied::Changed) && execution.status.is_terminal() {
                ends.push(&execution, claimed, at)?;
            }
        }
        if ends.is_empty() {
            return Ok(HashSet::new());
        }
        let ended = self.write(client, END, &ends.values()).await?;
        Ok(ended.iter().filter_map(id).collect())
    }

    async fn beat_all(&self, client: &Object, leases: &[Lease], extend: Duration) -> Done<Vec<Beat>> {
        let ids: Vec<Vec<u8>> = leases.iter().map(|lease| bytes(lease.id)).collect();
        let epochs: Vec<i64> = leases.iter().map(|lease| i64::try_from(lease.epoch).unwrap_or(i64::MAX)).collect();
        let (extend, now) = (duration_ms(extend), self.own_now().map(ms));
        let mut beats = HashMap::new();
        for row in self.write(client, BEAT, &[&ids, &epochs, &extend, &now]).await? {
            let (epoch, cancel): (i64, bool) = (row.try_get(1)?, row.try_get(2)?);
            beats.insert((id(&row), epoch), if cancel { Beat::CancelRequested } else { Beat::Held });
        }
        let of = |(lease, epoch): (&Lease, &i64)| beats.get(&(Some(lease.id), *epoch)).copied().unwrap_or(Beat::Lost);
        Ok(leases.iter().zip(&epochs).map(of).collect())
    }

    async fn claim_all(&self, client: &Object, claim: &Claim) -> Done<Vec<Execution>> {
        let (lease, limit, now) = (duration_ms(claim.lease), i64::from(claim.limit), self.own_now().map(ms));
        let mut types = claim.types.clone();
        let rows = if let Some(id) = claim.only {
            let values: [&(dyn ToSql + Sync); 6] = [&now, &limit, &types, &claim.worker, &lease, &bytes(id)];
            self.write(client, CLAIM_ONE, &values).await?
        } else {
            if types.is_empty() {
                types = column(&self.write(client, TYPES, &[]).await?)?;
            }
            types.sort_unstable();
            types.dedup();
            self.write(client, CLAIM, &[&now, &limit, &types, &claim.worker, &lease]).await?
        };
        let Some(at) = rows.first().map(|row| row.try_get(6)).transpose()? else { return Ok(Vec::new()) };
        let mut claimed = Vec::with_capacity(rows.len());
        let mut aside: Vec<&[u8]> = Vec::new();
        for row in &rows {
            match read(row) {
                Ok(execution) => claimed.push(execution),
                Err(Problem::Corrupt(_)) => aside.push(row.try_get(0)?),
                Err(problem) => return Err(problem),
            }
        }
        // They keep nobody from the others; they are still found, and said to be corrupt, by their ids. If that fails, the
        // others are claimed all the same, and a sweep sets these aside.
        if !aside.is_empty() {
            drop(self.write(client, UNCLAIM, &[&aside, &claim.worker, &at]).await);
        }
        sort(&mut claimed);
        self.claimed.keep(&mut claimed, timestamp(at));
        Ok(claimed)
    }

    /// Reserves what is due. It is the bodies that say so: a row of the queue tells of claims alone.
    async fn reserve_some(&self, transaction: &Transaction<'_>, claim: &Claim) -> Done<Vec<Execution>> {
        let locked = if let Some(id) = claim.only {
            transaction.query(&transaction.prepare_cached(WAITS).await?, &[&bytes(id)]).await?
        } else {
            let mut types = claim.types.clone();
            if types.is_empty() {
                types = column(&transaction.query(&transaction.prepare_cached(TYPES).await?, &[]).await?)?;
            }
            types.sort_unstable();
            types.dedup();
            let values: [&(dyn ToSql + Sync); 3] = [&self.own_now().map(ms), &i64::from(claim.limit), &types];
            transaction.query(&transaction.prepare_cached(DUE).await?, &values).await?
        };
        let now = self.now_in(transaction).await?;
        let mut reserved = readable(transaction, COLUMNS, &locked).await?;
        reserved.retain_mut(|execution| {
            let is_wanted = execution.is_due(now) && claim.wants(&execution.type_) && claim.limit > 0;
            let reserve = Write::new(execution.id, claim.reservation());
            is_wanted && reserve.apply(execution, now.max(execution.updated_at)) == Ok(Applied::Changed)
        });
        save(transaction, reserved.iter().map(|execution| (execution, 0))).await?;
        sort(&mut reserved);
        Ok(reserved)
    }

    async fn sweep_some(&self, transaction: &Transaction<'_>, limit: u32) -> Done<Swept> {
        let now = self.now_in(transaction).await?;
        let query = "SELECT id FROM tracer_queue WHERE sweep_at <= $1 ORDER BY sweep_at, id LIMIT $2
                     FOR UPDATE SKIP LOCKED";
        let statement = transaction.prepare_cached(query).await?;
        let locked = transaction.query(&statement, &[&ms(now), &i64::from(limit)]).await?;
        let mut swept = Swept::default();
        let mut executions = readable(transaction, TO_CHANGE, &locked).await?;
        executions.retain_mut(|execution| {
            let is_changed = execution.sweep(now.max(execution.updated_at)) == Applied::Changed;
            if is_changed {
                swept.count(execution);
            }
            is_changed
        });
        save(transaction, executions.iter().map(|execution| (execution, 0))).await?;
        if executions.iter().any(Said::is_worth) {
            self.hint_in(transaction).await?;
        }
        let next = "SELECT min(sweep_at) FROM tracer_queue WHERE sweep_at IS NOT NULL";
        let statement = transaction.prepare_cached(next).await?;
        let next: Option<i64> = transaction.query_one(&statement, &[]).await?.try_get(0)?;
        swept.next_due = next.map(|at| timestamp(at).since(now));
        Ok(swept)
    }

    /// A statement that is a transaction of its own. If its answer is lost, nobody knows whether it was.
    async fn write(&self, client: &Object, query: &str, values: &[&(dyn ToSql + Sync)]) -> Done<Vec<Row>> {
        let statement = in_time(self.patience, client.prepare_cached(query)).await?;
        let answer = timeout(self.patience, client.query(&statement, values)).await;
        answer.map_err(|_| Problem::SlowCommit)?.map_err(Problem::of_statement)
    }

    async fn client(&self) -> Done<Object> {
        in_time(self.patience, async { self.pool.get().await.map_err(Problem::Pool) }).await
    }

    /// Reads rows outside of a transaction.
    async fn read<T>(
        &self,
        operation: &'static str,
        query: &str,
        values: &[&(dyn ToSql + Sync)],
        of: impl Fn(&Row) -> Done<T>,
    ) -> Result<Vec<T>, StoreError> {
        let read_all = async {
            let client = self.client().await?;
            let answer = in_time(self.patience, async {
                let statement = client.prepare_cached(query).await?;
                client.query(&statement, values).await
            });
            let answer = answer.await;
            free(client, &answer);
            answer?.iter().map(of).collect::<Done<Vec<T>>>()
        };
        read_all.await.map_err(|problem| problem.into_store(operation))
    }
}

/// In the order in which they are claimed.
fn sort(executions: &mut [Execution]) {
    executions.sort_by_key(|execution| {
        (std::cmp::Reverse(execution.priority), execution.run_at, execution.created_at, execution.id)
    });
}

/// The first column of these rows.
fn column(rows: &[Row]) -> Done<Vec<String>> {
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Gives up after a while.
pub(crate) async fn in_time<T, E>(patience: Duration, call: impl Future<Output = Result<T, E>>) -> Done<T>
where
    Problem: From<E>,
{
    Ok(timeout(patience, call).await.map_err(|_| Problem::Slow)??)
}

async fn commit(transaction: Transaction<'_>, patience: Duration) -> Done<()> {
    let committed = timeout(patience, transaction.commit()).await;
    committed.map_err(|_| Problem::SlowCommit)?.map_err(Problem::Commit)
}

/// Leaves the connection to others, unless its server has fallen silent: then it is closed.
fn free<T>(client: Object, done: &Done<T>) {
    if matches!(done, Err(Problem::Slow | Problem::SlowCommit)) {
        drop(Object::take(client));
    }
}

/// Does work with a connection, again if others were in its way.
macro_rules! directly {
    ($store:expr, $operation:literal, |$client:ident| $work:expr) => {{
        let mut attempt = 1;
        loop {
            let once = async {
                let mut client = $store.client().await?;
                let $client = &mut client;
                let done = $work.await;
                free(client, &done);
                done
            };
            match once.await {
                Err::<_, Problem>(problem) if problem.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                done => break done.map_err(|problem: Problem| problem.into_store($operation)),
            }
        }
    }};
}

/// Does work in a transaction, again if others were in its way.
macro_rules! transact {
    ($store:expr, $operation:literal, |$transaction:ident| $work:expr) => {{
        let patience = $store.patience;
        directly!($store, $operation, |client| async {
            let done = async {
                let transaction = in_time(patience, client.transaction()).await?;
                let $transaction = &transaction;
                let done = in_time(patience, $work).await?;
                commit(transaction, patience).await?;
                Ok(done)
            };
            let done = done.await;
            if done.is_err() {
                $store.said.nothing();
            }
            done
        })
    }};
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
            value_len_bytes_max: u64::try_from(TEXT_LEN_BYTES_MAX).ok(),
        }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        // Without a key only the repetition of a creation finds something there.
        if new.iter().all(|new| new.idempotency_key().is_none()) {
            let created = directly!(self, "create executions", |client| self.create_new(client, &new))?;
            if let Some(created) = created {
                return Ok(created);
            }
        }
        transact!(self, "create executions", |transaction| self.create_all(transaction, &new))
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM {TABLES} WHERE e.id = $1");
        Ok(self.read("read an execution", &query, &[&bytes(*id)], read).await?.pop())
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM {TABLES} WHERE e.idempotency_key = $1");
        Ok(self.read("read an execution", &query, &[&key], read).await?.pop())
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self, "update executions", |transaction| self.write_all(transaction, COLUMNS, &writes))
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let ended = directly!(self, "end attempts", |client| self.end_all(client, &writes))?;
        let (mut rest, mut outcomes) = (Vec::new(), Vec::with_capacity(writes.len()));
        let mut unanswered = ended.clone();
        for write in writes {
            // The first write to an execution is what has ended it.
            if unanswered.remove(&write.id) {
                outcomes.push(Some(Ok(())));
            } else {
                outcomes.push(None);
                rest.push(write);
            }
        }
        let mut settled = Vec::new();
        if !rest.is_empty() {
            let done =
                transact!(self, "update executions", |transaction| self.write_all(transaction, TO_CHANGE, &rest));
            settled = done.map_err(|error| StoreError {
                written: if ended.is_empty() { error.written } else { Written::Unknown },
                ..error
            })?;
        }
        let mut settled = settled.into_iter().map(|outcome| outcome.map(drop));
        Ok(outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| settled.next())).collect())
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        let (query, values) = list(options);
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
        Ok(options.page_in_order(self.read("list executions", &query, &values, listed).await?))
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        transact!(self, "delete an execution", |transaction| delete(transaction, *id))
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        transact!(self, "delete what has ended", |transaction| async {
            let now = self.now_in(transaction).await?;
            old::delete_ended(transaction, retention, after, limit, now).await
        })
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        directly!(self, "claim executions", |client| self.claim_all(client, claim))
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        transact!(self, "reserve executions", |transaction| self.reserve_some(transaction, claim))
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        directly!(self, "extend leases", |client| self.beat_all(client, leases, extend))
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        transact!(self, "look for lost leases", |transaction| self.sweep_some(transaction, limit))
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        directly!(self, "read the time", |client| async { self.now(client).await.map(Some) })
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
