//! The operations on executions, over any store.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde::Serialize;

use super::command::{Beat, Command, Expected, Write};
use super::error::{ExecutionError, InvalidInput, Refusal, StoreError};
use super::failure::Failure;
use super::list::{ListOptions, Page};
use super::new::{Create, NewExecution};
use super::progress::Progress;
use super::record::{Execution, Lease};
use super::store::{Claim, Created, ExecutionStore, Swept};
use super::timestamp::Timestamp;
use crate::clock::SystemClock;
use crate::id::ExecutionId;
use crate::random::{self, AnyRandom, Random};

/// How many leases and times allowed [`ExecutionManager::tick`] deals with.
const TICK_LIMIT: u32 = 1000;

/// Creates executions and takes them through their lives. Needs no async runtime and starts nothing by itself; every
/// call is one call of the store.
///
/// ```
/// # async fn example() -> Result<(), tracer::execution::ExecutionError> {
/// use tracer::execution::{ExecutionManager, ExecutionStatus, Failure, MemoryStore, NewExecution, Progress};
///
/// let manager = ExecutionManager::new(MemoryStore::default());
/// let new = NewExecution::new("import").payload(serde_json::json!({ "file": "orders.csv" })).max_attempts(3);
/// let execution = manager.create(new).await?;
///
/// manager.start(&execution.id).await?;
/// manager.update_progress(&execution.id, Progress::new(50, 100)).await?;
/// manager.checkpoint(&execution.id, "row", 50).await?;
/// let failed = manager.fail(&execution.id, Failure::new("disk full").retryable(true)).await?;
/// assert_eq!(failed.status, ExecutionStatus::Retrying);
///
/// let again = manager.start(&execution.id).await?;
/// assert_eq!((again.attempts, &again.checkpoints["row"]), (2, &50.into()));
/// let done = manager.complete(&execution.id, "100 rows").await?;
/// assert_eq!(done.status, ExecutionStatus::Completed);
/// # Ok(()) }
/// # let mut example = Box::pin(example());
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(matches!(example.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(()))));
/// ```
///
/// # Leases
///
/// An attempt begun by [`start`](Self::start) belongs to nobody: anybody may end it, and if the program dies it stays
/// `running` until somebody does, or its timeout is over. One begun by [`claim`](Self::claim) or
/// [`claim_by_id`](Self::claim_by_id) belongs to whoever has its [`Lease`]; writes go through [`under`](Self::under),
/// all others are refused with `LEASE_LOST`, and if its lease is not extended in time, another attempt follows.
///
/// # Errors
///
/// All operations fail with a [code](super::CODES). `NOT_FOUND`, `INVALID_STATE_TRANSITION` and `STORE` are possible
/// everywhere; the others are said where they are.
///
/// # Cancel safety
///
/// Every operation can be dropped: what it writes is written whole or not at all.
#[derive(Clone)]
pub struct ExecutionManager<S> {
    store: S,
    random: AnyRandom,
    last_id: Arc<AtomicU64>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for ExecutionManager<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutionManager").field("store", &self.store).finish_non_exhaustive()
    }
}

#[expect(clippy::missing_errors_doc, reason = "what all have in common is said once, at the type")]
impl<S: ExecutionStore> ExecutionManager<S> {
    /// A manager over a store.
    pub fn new(store: S) -> Self {
        Self { store, random: AnyRandom::default(), last_id: Arc::default() }
    }

    /// Takes ids and jitter from `random`: for `wasm32-unknown-unknown`, where there is nothing else to take them from.
    #[must_use]
    pub fn with_random(mut self, random: impl Random) -> Self {
        self.random = AnyRandom::other(random);
        self
    }

    /// The same over another store: one that stands before this one, say.
    pub fn map_store<T: ExecutionStore>(self, map: impl FnOnce(S) -> T) -> ExecutionManager<T> {
        ExecutionManager { store: map(self.store), random: self.random, last_id: self.last_id }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Creates an execution. If there is one with the same idempotency key, type and payload, that one is the answer,
    /// untouched.
    ///
    /// # Errors
    ///
    /// `IDEMPOTENCY_MISMATCH` if the key belongs to another type or payload; `INVALID_INPUT`, `TOO_LARGE`. After `STORE`, where
    /// it [may have been written](ExecutionError::written), a repetition creates another one, unless there is a key: what has
    /// none is [prepared](Self::prepare) once, and given to the store as often as it takes.
    pub async fn create(&self, new: NewExecution) -> Result<Execution, ExecutionError> {
        only(self.create_all([new]).await?)
    }

    /// Checks a creation and gives it its id, for who hands it to a store in another way: inside a transaction, or again
    /// after a lost reply.
    ///
    /// # Errors
    ///
    /// `INVALID_INPUT`.
    pub fn prepare(&self, new: NewExecution) -> Result<Create, ExecutionError> {
        new.create(self.ids()())
    }

    /// Creates many, each as [`create`](Self::create) does: in one call of the store, so at a fraction of the price.
    ///
    /// # Errors
    ///
    /// For each what [`create`](Self::create) says; none was created if one is `INVALID_INPUT`. As a whole `STORE`.
    pub async fn create_all(
        &self,
        new: impl IntoIterator<Item = NewExecution> + Send,
    ) -> Result<Vec<Result<Execution, ExecutionError>>, ExecutionError> {
        let id = self.ids();
        let new = new.into_iter();
        let mut asked = Vec::with_capacity(new.size_hint().0);
        for new in new {
            asked.push(new.create(id())?);
        }
        // Without a key there is nothing that it may have to be compared with.
        let named = |asked: &Create| asked.idempotency_key().map(|_| Box::new(asked.clone()));
        let named: Vec<_> = asked.iter().map(named).collect();
        let failed = |error| ExecutionError::new(None, error).read_first(named.iter().any(Option::is_none));
        let created = self.store.create(asked).await.map_err(failed)?;
        Ok(named.into_iter().zip(created).map(|(named, created)| answered(named.as_deref(), created)).collect())
    }

    /// Begins an attempt, whether it is due or not: from pending or retrying.
    ///
    /// # Errors
    ///
    /// Of two that start it, one is refused with `INVALID_STATE_TRANSITION`.
    pub async fn start(&self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.freely().start(id).await
    }

    /// Ends the attempt with a result.
    ///
    /// # Errors
    ///
    /// `LEASE_LOST` if a worker holds it, `INVALID_INPUT` if the result is no JSON, `TOO_LARGE`.
    pub fn complete(
        &self,
        id: &ExecutionId,
        result: impl Serialize,
    ) -> impl Future<Output = Result<Execution, ExecutionError>> {
        self.freely().complete(id, result)
    }

    /// Ends the attempt without a result. If the failure is retryable and an attempt is left, the execution is retrying
    /// from then on, and due after the wait that its policy says; else it has failed. A waiting one is given up.
    ///
    /// # Errors
    ///
    /// `LEASE_LOST` if a worker holds it.
    pub async fn fail(&self, id: &ExecutionId, failure: Failure) -> Result<Execution, ExecutionError> {
        self.freely().fail(id, failure).await
    }

    /// Calls the execution off, at once unless a worker holds it. Then it stays running until the worker has stopped, which
    /// hears of it with its next heartbeat; [`Execution::cancel_requested`] says that it was told. A completion that comes first wins.
    ///
    /// The reason, the first that is given, is kept as `metadata["cancellationReason"]`; also where a completion comes first.
    pub async fn cancel(&self, id: &ExecutionId, reason: Option<&str>) -> Result<Execution, ExecutionError> {
        self.freely().cancel(id, reason).await
    }

    /// Asks for another attempt, due at once, after a failure or a timeout. One that is retrying is left as it is.
    ///
    /// # Errors
    ///
    /// `MAX_RETRIES_EXCEEDED` if no attempt is left.
    pub async fn retry(&self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.freely().retry(id).await
    }

    /// Drives an execution anew that has ended without a result, whether attempts are left or not: all of them are there
    /// again, due at once. What it has kept, its epoch and its history stay. One that is retrying is left as it is.
    ///
    /// [`ListOptions::dead_letters`] finds them.
    pub async fn redrive(&self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.freely().redrive(id).await
    }

    /// Reports how far the attempt has come.
    ///
    /// # Errors
    ///
    /// `INVALID_PROGRESS` if it makes no sense, or is less than was reported in this attempt; `LEASE_LOST`.
    pub async fn update_progress(&self, id: &ExecutionId, progress: Progress) -> Result<Execution, ExecutionError> {
        self.freely().update_progress(id, progress).await
    }

    /// Keeps a value for later attempts. The last one under a key stays.
    ///
    /// # Errors
    ///
    /// `INVALID_INPUT` if the value is no JSON or the key is empty or too long; `LEASE_LOST`, `TOO_LARGE`.
    pub fn checkpoint(
        &self,
        id: &ExecutionId,
        key: &str,
        value: impl Serialize,
    ) -> impl Future<Output = Result<Execution, ExecutionError>> {
        self.freely().checkpoint(id, key, value)
    }

    /// Ends the attempt because it takes too long, whoever holds it. One that was to be cancelled is. A worker hears of it
    /// with its next heartbeat: until then its handler goes on, and what it writes is refused.
    pub async fn timeout(&self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.freely().timeout(id).await
    }

    /// The execution.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn get(&self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        let found = self.store.find_by_id(id).await.map_err(|error| ExecutionError::new(Some(*id), error))?;
        found.ok_or_else(|| ExecutionError::refused(*id, Refusal::NotFound))
    }

    /// The execution that was created with this key, if there is one.
    pub async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, ExecutionError> {
        self.store.find_by_idempotency_key(key).await.map_err(|error| ExecutionError::new(None, error))
    }

    /// Executions, a page of them.
    pub async fn list(&self, options: ListOptions) -> Result<Page, ExecutionError> {
        self.store.list(&options).await.map_err(|error| ExecutionError::new(None, error))
    }

    /// Deletes an execution that is not running, with all that is known of it. Its idempotency key is free again.
    pub async fn delete(&self, id: &ExecutionId) -> Result<(), ExecutionError> {
        let deleted = self.store.delete(id).await.map_err(|error| ExecutionError::new(Some(*id), error))?;
        deleted.map_err(|refusal| ExecutionError::refused(*id, refusal))
    }

    /// Starts executions that are due, the most urgent first, each under a lease.
    ///
    /// # Errors
    ///
    /// `INVALID_INPUT` if the worker has no name or the lease no length.
    pub async fn claim(&self, claim: Claim) -> Result<Vec<Execution>, ExecutionError> {
        claim.check().map_err(|error| ExecutionError::invalid(claim.only, error))?;
        self.store.claim(&claim).await.map_err(|error| ExecutionError::new(claim.only, error))
    }

    /// Reserves executions that are due, likewise: no attempt has begun before [`begin`](Expecting::begin). For who has to look
    /// at an execution before it can say whether it may run now. What is given back, or lost, before it began was no attempt.
    /// With a store of others that cannot reserve, attempts begin here ([`ExecutionStore::reserve`]).
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    pub async fn reserve(&self, claim: Claim) -> Result<Vec<Execution>, ExecutionError> {
        claim.check().map_err(|error| ExecutionError::invalid(claim.only, error))?;
        self.store.reserve(&claim).await.map_err(|error| ExecutionError::new(claim.only, error))
    }

    /// Starts this one under a lease, if it is due: for who was handed an id, by a queue for instance. `None` if it is
    /// not, because another has it, or it has ended, or must wait.
    pub async fn claim_by_id(
        &self,
        id: &ExecutionId,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<Execution>, ExecutionError> {
        let claim = Claim { types: Vec::new(), only: Some(*id), limit: 1, worker: worker.to_owned(), lease };
        Ok(self.claim(claim).await?.pop())
    }

    /// Extends leases until `extend` from now, and tells which are lost, and whose work is to stop.
    pub async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, ExecutionError> {
        self.store.heartbeat(leases, extend).await.map_err(|error| ExecutionError::new(None, error))
    }

    /// Ends many attempts in one call of the store: for workers.
    pub async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, ExecutionError> {
        self.store.settle(writes).await.map_err(|error| ExecutionError::new(None, error))
    }

    /// Runs `work` as the attempt that `execution` is in, to be called once for each attempt: in a trace of its own, whose
    /// ids are those of the attempt ([`Lease::trace_id`]). Nodes with `checkpoint` in it keep their results, and give back
    /// those that attempts before have kept. The attempt is not ended by it: complete it, or fail it.
    ///
    /// ```
    /// # async fn example() -> Result<(), tracer::execution::ExecutionError> {
    /// # use tracer::execution::{ExecutionManager, MemoryStore, NewExecution};
    /// #[tracer::traced_node(checkpoint)]
    /// async fn charge(amount: u32) -> Result<String, std::io::Error> {
    ///     Ok(format!("receipt for {amount}"))
    /// }
    ///
    /// let manager = ExecutionManager::new(MemoryStore::default());
    /// let id = manager.create(NewExecution::new("order").max_attempts(2)).await?.id;
    /// for attempt in 1..=2 {
    ///     let execution = manager.start(&id).await?;
    ///     let receipt = manager.run_attempt(&execution, || charge(attempt)).await?;
    ///     assert_eq!(receipt.unwrap(), "receipt for 1");
    ///     # if attempt == 2 { break }
    ///     manager.fail(&id, tracer::execution::Failure::new("no paper").retryable(true)).await?;
    /// }
    /// # Ok(()) }
    /// # let mut example = Box::pin(example());
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(matches!(example.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(()))));
    /// ```
    ///
    /// # Nodes that were interrupted
    ///
    /// A node that is to run at most once, and that nobody has seen end, keeps `{"started": …}` under `NODE@KEY`, and all
    /// attempts from then on end with `AT_MOST_ONCE`. Who has found out what has become of it says so under that key, in an
    /// attempt: `{"value": …}` if it has happened, with what it has returned as JSON, or `null` if it has not and is to run
    /// again.
    ///
    /// ```
    /// # use std::{future::Future, time::Duration};
    /// # use tracer::execution::{ExecutionError, ExecutionId, ExecutionManager, ExecutionStore};
    /// async fn has_happened<S: ExecutionStore>(
    ///     manager: &ExecutionManager<S>,
    ///     id: &ExecutionId,
    ///     key: &str,
    ///     returned: serde_json::Value,
    /// ) -> Result<(), ExecutionError> {
    ///     manager.redrive(id).await?;
    ///     // A worker may be faster; then it fails as before.
    ///     if let Some(attempt) = manager.claim_by_id(id, "operator", Duration::from_secs(30)).await? {
    ///         let held = manager.under(&attempt.token());
    ///         held.checkpoint(id, key, serde_json::json!({ "value": returned })).await?;
    ///         held.release(id, Duration::ZERO).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `AT_MOST_ONCE` if a node that is to run at most once was begun before and has no result; `NOT_TRACED` if
    /// recording is off; `LEASE_LOST`, `TOO_LARGE` and `INVALID_INPUT` as for [`checkpoint`](Self::checkpoint). The work is
    /// dropped then; what it has spawned elsewhere never returns from the node. [`ExecutionError::failure`] is what to
    /// fail the attempt with.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, so is the work.
    pub async fn run_attempt<F: Future>(
        &self,
        execution: &Execution,
        work: impl FnOnce() -> F,
    ) -> Result<F::Output, ExecutionError>
    where
        S: Clone + 'static,
    {
        super::resume::run_attempt(self.clone(), execution, work).await
    }

    /// Deals with some leases and times allowed that are over: one bounded piece of work, for a timer or a scheduled
    /// function. [`Swept::next_due`] says when to come again.
    pub async fn tick(&self) -> Result<Swept, ExecutionError> {
        self.store.sweep(TICK_LIMIT).await.map_err(|error| ExecutionError::new(None, error))
    }

    /// The operations of whoever holds a lease: refused with `LEASE_LOST` once another attempt has begun.
    pub fn under(&self, lease: &Lease) -> Expecting<'_, S> {
        self.expecting((*lease).into())
    }

    /// The operations, refused with `LEASE_LOST` or `VERSION_CONFLICT` unless this holds.
    pub fn expecting(&self, expected: Expected) -> Expecting<'_, S> {
        Expecting { manager: self, expected }
    }

    fn freely(&self) -> Expecting<'_, S> {
        self.expecting(Expected::default())
    }

    /// Makes ids. The beginning of each is the time and a count: what is created by one manager in one millisecond of the
    /// store's is claimed in that order, and what is made together lies together. Nothing else depends on it.
    fn ids(&self) -> impl Fn() -> ExecutionId {
        random::reseed_if_forked();
        let now = Timestamp::now(&SystemClock).unix_ms();
        move || ExecutionId::next(&self.last_id, now, &self.random)
    }
}

/// The operations on executions, with what must hold for them. Each is what [`ExecutionManager`] says.
pub struct Expecting<'m, S> {
    manager: &'m ExecutionManager<S>,
    expected: Expected,
}

impl<S> Clone for Expecting<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Expecting<'_, S> {}

impl<S> std::fmt::Debug for Expecting<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expecting").field("expected", &self.expected).finish_non_exhaustive()
    }
}

#[expect(clippy::missing_errors_doc, reason = "what all have in common is said once, at the manager")]
impl<S: ExecutionStore> Expecting<'_, S> {
    /// Begins an attempt without a lease.
    pub async fn start(self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Start { holder: None })).await
    }

    /// Begins the attempt for which it was [reserved](ExecutionManager::reserve). Once more, it changes nothing.
    pub async fn begin(self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Begin)).await
    }

    /// Ends the attempt with a result.
    pub fn complete(
        self,
        id: &ExecutionId,
        result: impl Serialize,
    ) -> impl Future<Output = Result<Execution, ExecutionError>> {
        self.write(*id, Command::complete(result))
    }

    /// Ends the attempt without a result.
    pub async fn fail(self, id: &ExecutionId, failure: Failure) -> Result<Execution, ExecutionError> {
        let random = self.manager.random.u32();
        self.write(*id, Ok(Command::Fail { failure, random })).await
    }

    /// Calls the execution off; under a lease, at once: that is how its holder says that it has stopped.
    pub async fn cancel(self, id: &ExecutionId, reason: Option<&str>) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Cancel { reason: reason.map(str::to_owned) })).await
    }

    /// Asks for another attempt.
    pub async fn retry(self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Retry)).await
    }

    /// Drives it anew.
    pub async fn redrive(self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Redrive)).await
    }

    /// Reports how far the attempt has come.
    pub async fn update_progress(self, id: &ExecutionId, progress: Progress) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Progress(progress))).await
    }

    /// Keeps a value for later attempts.
    pub fn checkpoint(
        self,
        id: &ExecutionId,
        key: &str,
        value: impl Serialize,
    ) -> impl Future<Output = Result<Execution, ExecutionError>> {
        self.write(*id, Command::checkpoint(key, value))
    }

    /// Does what nobody wants to see the outcome of, only whether it was refused. A checkpoint then costs the same however
    /// many there are; [`checkpoint`](Self::checkpoint) reads them all.
    pub async fn settle(self, id: &ExecutionId, command: Command) -> Result<(), ExecutionError> {
        let write = Write { id: *id, expected: self.expected, command };
        let failed = failed(&write);
        let outcomes = self.manager.store.settle(vec![write]).await.map_err(failed)?;
        only(outcomes).map_err(|refusal| ExecutionError::refused(*id, refusal))
    }

    /// Ends the attempt because it takes too long.
    pub async fn timeout(self, id: &ExecutionId) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::TimeOut)).await
    }

    /// Gives the attempt back, unfinished: it does not count, and another may follow after `delay`.
    pub async fn release(self, id: &ExecutionId, delay: Duration) -> Result<Execution, ExecutionError> {
        self.write(*id, Ok(Command::Release { delay })).await
    }

    async fn write(self, id: ExecutionId, command: Result<Command, InvalidInput>) -> Result<Execution, ExecutionError> {
        let command = command.map_err(|error| ExecutionError::invalid(Some(id), error))?;
        let write = Write { id, expected: self.expected, command };
        let failed = failed(&write);
        let outcomes = self.manager.store.update(vec![write]).await.map_err(failed)?;
        only(outcomes).map_err(|refusal| ExecutionError::refused(id, refusal))
    }
}

/// What an error of the store's means for a write.
fn failed(write: &Write) -> impl FnOnce(StoreError) -> ExecutionError + use<> {
    let (id, reads_first) = (write.id, !write.is_repeatable());
    move |error| ExecutionError::new(Some(id), error).read_first(reads_first)
}

/// The answer to the only element of a batch.
fn only<T>(answers: Vec<T>) -> T {
    answers.into_iter().next().expect("a store answers each element of a batch")
}

/// What a creation comes to.
fn answered(named: Option<&Create>, created: Created) -> Result<Execution, ExecutionError> {
    match named {
        Some(named) => named.check(created),
        None => Ok(created.into_execution()),
    }
}
