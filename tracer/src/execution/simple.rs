//! The smallest store that one can write: six methods, and everything else made of them.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::command::{Applied, Beat, Command, Write};
use super::error::{Refusal, StoreError, Trouble, Written};
use super::list::{Cursor, ListOptions, Page};
use super::new::Create;
use super::record::{Execution, Lease};
use super::retention::{Deleted, Retention};
use super::status::ExecutionStatus;
use super::store::{Capabilities, Claim, Created, ExecutionStore, Survives, Swept};
use super::timestamp::Timestamp;
use crate::clock::{Clock, SystemClock};
use crate::id::ExecutionId;

/// A store of one's own, in six methods. [`Simple`] makes an [`ExecutionStore`] of it, for managers and workers.
///
/// All that it has to be good at is [`update`](Self::update), which must be atomic. Executions are values with
/// `Serialize` and `Deserialize`; [`ListOptions::page_of`] makes pages for who has them all in memory.
pub trait SimpleStore: Send + Sync {
    /// What its driver says when it fails.
    type Error: Into<Box<dyn Error + Send + Sync>> + Send;

    /// Its name, for messages.
    const NAME: &'static str;

    /// What kind of trouble a failure is: unless said, one that may go by, so that the call is repeated. A store with limits
    /// says [`Trouble::TooLarge`] or [`Trouble::Refused`] for what it will never take.
    fn trouble(_error: &Self::Error) -> Trouble {
        Trouble::Unavailable
    }

    /// Keeps a new execution; `false`, and nothing is changed, if there is one with its id or idempotency key. The
    /// check and the writing are atomic.
    fn create(&self, execution: &Execution) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// The execution with this id.
    fn find_by_id(&self, id: &ExecutionId) -> impl Future<Output = Result<Option<Execution>, Self::Error>> + Send;

    /// The execution with this key.
    fn find_by_idempotency_key(&self, key: &str)
    -> impl Future<Output = Result<Option<Execution>, Self::Error>> + Send;

    /// Replaces the execution with this id; `false`, and nothing is changed, if there is none or it is not at `version`.
    /// The check and the writing are atomic.
    fn update(&self, execution: &Execution, version: u64) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// The executions that match, a page of them, in the order of [`ListOptions`].
    fn list(&self, options: &ListOptions) -> impl Future<Output = Result<Page, Self::Error>> + Send;

    /// Deletes the execution with this id; `false`, and nothing is changed, if there is none or it is not at `version`.
    /// The check and the deletion are atomic.
    fn delete(&self, id: &ExecutionId, version: u64) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}

/// An [`ExecutionStore`] made of a [`SimpleStore`].
///
/// Each write reads the execution, applies the rules, and writes it under the condition that nobody else has written in
/// between; else it begins again. A claim reads the lists of those that wait, a sweep those that run, so both cost the
/// more the more there are. The clock is the process's: give all processes the same time, or leases are as long as their
/// clocks say. Of a claim, what was taken before a change that fails is given, and the failure is not told. Extending a lease counts as a change of the version, because `update` has no other condition. One
/// that cannot be read fails the lists that it is in, and what depends on them.
pub struct Simple<S> {
    store: S,
    clock: Arc<dyn Clock>,
    /// The latest time that was seen, so that time never falls in this process.
    latest_ms: AtomicU64,
}

impl<S: SimpleStore> Simple<S> {
    /// A store whose time is that of the machine.
    pub fn new(store: S) -> Self {
        Self::with_clock(store, SystemClock)
    }

    /// A store whose time is that of `clock`.
    pub fn with_clock(store: S, clock: impl Clock) -> Self {
        Self { store, clock: Arc::new(clock), latest_ms: AtomicU64::new(0) }
    }

    fn now(&self) -> Timestamp {
        let now = Timestamp::now(&*self.clock).unix_ms();
        Timestamp::from_unix_ms(self.latest_ms.fetch_max(now, Ordering::Relaxed).max(now))
    }

    async fn find(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.store.find_by_id(id).await.map_err(failed::<S>("read an execution"))
    }

    /// Reads, changes and writes, until nobody has written in between.
    async fn change<T>(
        &self,
        id: &ExecutionId,
        mut change: impl FnMut(&mut Execution, Timestamp) -> Result<(T, Applied), Refusal> + Send,
    ) -> Result<Result<(T, Execution), Refusal>, StoreError>
    where
        T: Send,
    {
        let (mut seen, mut rounds) = (None, 0);
        loop {
            let Some(mut execution) = self.find(id).await? else { return Ok(Err(Refusal::NotFound)) };
            let version = execution.version;
            // Somebody makes progress whenever this goes round again.
            rounds = if seen.replace(version) == Some(version) { rounds + 1 } else { 0 };
            if rounds == ROUNDS_MAX {
                let found = "expected another version after a change that was not made, found the same";
                return Err(contradicts::<S>("update an execution", found));
            }
            let (answer, applied) = match change(&mut execution, self.now()) {
                Ok(changed) => changed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if applied == Applied::Unchanged || self.put(&execution, version).await? {
                return Ok(Ok((answer, execution)));
            }
        }
    }

    async fn put(&self, execution: &Execution, version: u64) -> Result<bool, StoreError> {
        let failed = failed::<S>("update an execution");
        self.store.update(execution, version).await.map_err(failed)
    }

    async fn write(&self, write: &Write) -> Result<Result<Execution, Refusal>, StoreError> {
        let changed = self.change(&write.id, |execution, now| Ok(((), write.apply(execution, now)?))).await?;
        Ok(changed.map(|((), execution)| execution))
    }

    async fn create_one(&self, new: Create) -> Result<Created, StoreError> {
        let execution = new.at(self.now());
        for _ in 0..ROUNDS_MAX {
            if self.store.create(&execution).await.map_err(failed::<S>("create an execution"))? {
                return Ok(Created::New(execution));
            }
            if let Some(key) = &execution.idempotency_key {
                if let Some(existing) = self.find_by_idempotency_key(key).await? {
                    return Ok(Created::Existing(existing));
                }
            }
            if let Some(existing) = self.find(&execution.id).await? {
                return Ok(Created::Existing(existing));
            }
            // It was deleted in between.
        }
        let found = "expected one with its id or key where there is one, found none";
        Err(contradicts::<S>("create an execution", found))
    }

    /// All executions in one of these states, page by page.
    async fn each(
        &self,
        statuses: &[ExecutionStatus],
        mut each: impl FnMut(Execution) + Send,
    ) -> Result<(), StoreError> {
        let mut options = ListOptions { limit: Some(ListOptions::LIMIT_MAX), ..ListOptions::default() };
        options.statuses = statuses.to_vec();
        loop {
            let page = self.list(&options).await?;
            options.after = page.next;
            page.into_iter().for_each(&mut each);
            if options.after.is_none() {
                return Ok(());
            }
        }
    }

    /// Does this to each that is due. Who was faster has it; there is no second try.
    async fn take(&self, claim: &Claim, command: &Command) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        let now = self.now();
        let mut due = Vec::new();
        let take = |execution: Execution| {
            if execution.is_due(now) && claim.wants(&execution.type_) {
                due.push(execution);
            }
        };
        match claim.only {
            Some(id) => self.find(&id).await?.into_iter().for_each(take),
            None => self.each(&[ExecutionStatus::Pending, ExecutionStatus::Retrying], take).await?,
        }
        due.sort_by_key(|due| (std::cmp::Reverse(due.priority), due.run_at, due.created_at, due.id));
        let mut claimed = Vec::new();
        for mut execution in due {
            if claimed.len() >= claim.limit as usize {
                break;
            }
            let version = execution.version;
            let start = Write::new(execution.id, command.clone());
            if start.apply(&mut execution, self.now()).is_err() {
                continue;
            }
            match self.put(&execution, version).await {
                Ok(true) => claimed.push(execution),
                Ok(false) => {}
                // What was claimed before is not to wait for the end of its lease.
                Err(_) if !claimed.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(claimed)
    }
}

impl<S: fmt::Debug> fmt::Debug for Simple<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simple").field("store", &self.store).finish_non_exhaustive()
    }
}

fn failed<S: SimpleStore>(operation: &'static str) -> impl FnOnce(S::Error) -> StoreError {
    move |error| StoreError {
        store: S::NAME,
        operation,
        trouble: S::trouble(&error),
        written: Written::Unknown,
        source: error.into(),
    }
}

/// So often a store may say what others have made untrue since.
const ROUNDS_MAX: u32 = 1000;

fn contradicts<S: SimpleStore>(operation: &'static str, found: &'static str) -> StoreError {
    let (trouble, written) = (Trouble::Unavailable, Written::Nothing);
    StoreError { store: S::NAME, operation, trouble, written, source: found.into() }
}

impl<S: SimpleStore> ExecutionStore for Simple<S> {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: S::NAME, consistent_list: true, survives: Survives::Nothing, value_len_bytes_max: None }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        let mut created = Vec::with_capacity(new.len());
        for new in new {
            created.push(self.create_one(new).await?);
        }
        Ok(created)
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.find(id).await
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        self.store.find_by_idempotency_key(key).await.map_err(failed::<S>("read an execution"))
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(self.write(&write).await?);
        }
        Ok(outcomes)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        self.store.list(options).await.map_err(failed::<S>("list executions"))
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let Some(execution) = self.find(id).await? else { return Ok(Err(Refusal::NotFound)) };
            if let Err(refusal) = execution.check_delete() {
                return Ok(Err(refusal));
            }
            let deleted = self.store.delete(id, execution.version).await;
            if deleted.map_err(failed::<S>("delete an execution"))? {
                return Ok(Ok(()));
            }
        }
        Err(contradicts::<S>(
            "delete an execution",
            "expected it to be gone or changed where it was not deleted, found it",
        ))
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        let now = self.now();
        let mut options = ListOptions::new().limit(limit).created_before(retention.created_before(now));
        (options.statuses, options.after) = (retention.statuses().to_vec(), after);
        let page = self.list(&options).await?;
        let mut deleted = Deleted { next: page.next, ..Deleted::default() };
        for execution in page.into_iter().filter(|execution| retention.is_over(execution, now)) {
            let is_deleted = self.store.delete(&execution.id, execution.version).await;
            deleted.deleted += u32::from(is_deleted.map_err(failed::<S>("delete what has ended"))?);
        }
        Ok(deleted)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, &claim.start()).await
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, &claim.reservation()).await
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        let mut beats = Vec::with_capacity(leases.len());
        for lease in leases {
            let renew = |execution: &mut Execution, now| {
                let beat = execution.renew(lease.epoch, extend, now);
                if beat == Beat::Lost {
                    return Ok((beat, Applied::Unchanged));
                }
                execution.version += 1;
                Ok((beat, Applied::Changed))
            };
            let changed = self.change(&lease.id, renew).await?;
            beats.push(changed.map_or(Beat::Lost, |(beat, _)| beat));
        }
        Ok(beats)
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(Some(self.now()))
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        let now = self.now();
        let mut running = Vec::new();
        self.each(&[ExecutionStatus::Running], |execution| {
            running.extend(execution.sweep_at().map(|at| (at, execution.id)));
        })
        .await?;
        running.sort_unstable();
        let mut swept = Swept::default();
        for (at, id) in running {
            if at > now || swept.total() >= limit {
                swept.next_due = Some(at.since(now));
                break;
            }
            let changed = self.change(&id, |execution, now| {
                let applied = execution.sweep(now);
                Ok((applied, applied))
            });
            if let Ok((Applied::Changed, execution)) = changed.await? {
                swept.count(&execution);
            }
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::execution::{ExecutionError, ExecutionManager, Expected, NewExecution};

    /// Takes nothing.
    struct Full;

    impl SimpleStore for Full {
        type Error = &'static str;
        const NAME: &'static str = "full";

        fn trouble(error: &&'static str) -> Trouble {
            if *error == "too large" { Trouble::TooLarge } else { Trouble::Unavailable }
        }
        async fn create(&self, _: &Execution) -> Result<bool, &'static str> {
            Err("too large")
        }
        async fn find_by_id(&self, _: &ExecutionId) -> Result<Option<Execution>, &'static str> {
            Err("busy")
        }
        async fn find_by_idempotency_key(&self, _: &str) -> Result<Option<Execution>, &'static str> {
            Err("busy")
        }
        async fn update(&self, _: &Execution, _: u64) -> Result<bool, &'static str> {
            Err("busy")
        }
        async fn list(&self, _: &ListOptions) -> Result<Page, &'static str> {
            Err("busy")
        }
        async fn delete(&self, _: &ExecutionId, _: u64) -> Result<bool, &'static str> {
            Err("busy")
        }
    }

    /// Says that there is one, and finds none; that somebody else has written, and nobody has.
    struct Contrary(Option<Execution>);

    impl SimpleStore for Contrary {
        type Error = &'static str;
        const NAME: &'static str = "contrary";

        async fn create(&self, _: &Execution) -> Result<bool, &'static str> {
            Ok(false)
        }
        async fn find_by_id(&self, _: &ExecutionId) -> Result<Option<Execution>, &'static str> {
            Ok(self.0.clone())
        }
        async fn find_by_idempotency_key(&self, _: &str) -> Result<Option<Execution>, &'static str> {
            Ok(None)
        }
        async fn update(&self, _: &Execution, _: u64) -> Result<bool, &'static str> {
            Ok(false)
        }
        async fn list(&self, _: &ListOptions) -> Result<Page, &'static str> {
            Err("busy")
        }
        async fn delete(&self, _: &ExecutionId, _: u64) -> Result<bool, &'static str> {
            Ok(false)
        }
    }

    #[test]
    fn a_store_that_contradicts_itself_is_not_asked_for_ever() {
        let manager = ExecutionManager::new(Simple::new(Contrary(None)));
        let created = manager.prepare(NewExecution::new("work")).unwrap();
        let id = created.id();
        let none = error(manager.create(NewExecution::new("work")));
        let manager = ExecutionManager::new(Simple::new(Contrary(Some(created.at(Timestamp::from_unix_ms(1))))));
        let same = error(manager.start(&id));
        let deleted = error(manager.delete(&id));
        for (error, found) in [(none, "found none"), (same, "found the same"), (deleted, "found it")] {
            assert_eq!((error.code(), error.written()), ("STORE", Written::Nothing));
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.ends_with(found), "{source}");
        }
    }

    fn error<T: fmt::Debug>(answer: impl Future<Output = Result<T, ExecutionError>>) -> ExecutionError {
        match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.unwrap_err(),
            Poll::Pending => panic!("expected an answer at once"),
        }
    }

    #[test]
    fn a_store_says_what_it_will_never_take() {
        let manager = ExecutionManager::new(Simple::new(Full));
        let never = error(manager.create(NewExecution::new("work")));
        assert_eq!((never.code(), never.is_retryable()), ("TOO_LARGE", false));
        let later = error(manager.get(&ExecutionId::new(1).unwrap()));
        assert_eq!((later.code(), later.is_retryable()), ("STORE", true));
    }

    #[test]
    fn what_a_repetition_may_do_twice_is_to_be_read_first() {
        let (manager, id) = (ExecutionManager::new(Simple::new(Full)), ExecutionId::new(1).unwrap());
        let calls = [
            (error(manager.create(NewExecution::new("work"))), true),
            (error(manager.create(NewExecution::new("work").idempotency_key("one"))), false),
            (error(manager.start(&id)), true),
            (error(manager.complete(&id, 1)), true),
            (error(manager.fail(&id, crate::execution::Failure::new("no"))), true),
            (error(manager.timeout(&id)), true),
            (error(manager.cancel(&id, None)), true),
            (error(manager.checkpoint(&id, "key", 1)), false),
            (error(manager.retry(&id)), false),
            (error(manager.under(&Lease { id, epoch: 1 }).complete(&id, 1)), false),
            (error(manager.expecting(Expected { version: Some(1), epoch: None }).complete(&id, 1)), true),
        ];
        for (error, reads_first) in calls {
            let advice = if reads_first { "read before you repeat the call" } else { "repeat the call or read" };
            assert!(error.to_string().ends_with(&format!("; it may have been written: {advice}")), "{error}");
        }
    }
}
