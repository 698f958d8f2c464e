//! Executions in memory: for tests, for work that need not outlive its process, and as the model for other stores.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Bound;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::command::{Applied, Beat, Command, Write};
use super::error::{Refusal, StoreError};
use super::list::{Cursor, ListOptions, Page};
use super::new::Create;
use super::record::{Execution, Lease};
use super::retention::{Deleted, Retention};
use super::store::{Capabilities, Claim, Created, ExecutionStore, Survives, Swept};
use super::timestamp::Timestamp;
use crate::clock::{Clock, SystemClock};
use crate::id::ExecutionId;

/// A store in memory. Clones share what is stored. It keeps executions until they are
/// deleted, one by one or by [`prune`](super::ExecutionManager::prune).
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    executions: Arc<Mutex<Executions>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_clock(SystemClock)
    }
}

impl MemoryStore {
    /// An empty store whose time is that of `clock`.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), executions: Arc::default() }
    }

    fn now(&self) -> Timestamp {
        Timestamp::now(&*self.clock)
    }

    /// No code of others runs under the lock, and each change is whole before the next: a poisoned lock means nothing.
    fn lock(&self) -> Locked<'_> {
        Locked(Some(self.executions.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Does this to each that is due.
    fn take(&self, claim: &Claim, mut command: Command) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        let mut executions = self.lock();
        let now = self.now();
        let due = executions.due(claim, now);
        let mut taken = Vec::with_capacity(due.len());
        for id in due {
            let write = Write::new(id, command);
            if let Some((Ok(Applied::Changed), execution)) = executions.change(&id, |found| write.apply(found, now)) {
                taken.push(execution.clone());
            }
            command = write.command;
        }
        Ok(taken)
    }

    fn write(&self, writes: &[Write], mut answer: impl FnMut(Result<&Execution, Refusal>)) {
        let mut executions = self.lock();
        let now = self.now();
        for write in writes {
            let applied = executions.change(&write.id, |execution| write.apply(execution, now));
            match applied {
                Some((Ok(_), execution)) => answer(Ok(execution)),
                Some((Err(refusal), _)) => answer(Err(refusal)),
                None => answer(Err(Refusal::NotFound)),
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("executions", &self.lock().by_id.len()).finish_non_exhaustive()
    }
}

/// The executions, while nobody else has them. Whoever is to be woken is once that is over.
struct Locked<'a>(Option<MutexGuard<'a, Executions>>);

impl Deref for Locked<'_> {
    type Target = Executions;

    fn deref(&self) -> &Executions {
        self.0.as_ref().expect("it is taken when it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Executions {
        self.0.as_mut().expect("it is taken when it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let woken = std::mem::take(&mut self.woken);
        self.0 = None;
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Those that wait, in the order in which they are claimed.
type Waiting = BTreeSet<(Reverse<i16>, Timestamp, Cursor)>;

#[derive(Default)]
struct Executions {
    /// Ids begin with the time: what is created together, and claimed together later, lies together in a tree. Boxed: a tree
    /// moves what is in it.
    by_id: BTreeMap<ExecutionId, Box<Execution>>,
    by_key: HashMap<String, ExecutionId>,
    in_order: BTreeSet<Cursor>,
    due: Due,
    /// Who is to be told, now that something has come to wait.
    woken: Vec<Waker>,
}

/// What there is to do, and when.
#[derive(Default)]
struct Due {
    waiting: BTreeMap<String, Waiting>,
    to_sweep: BTreeSet<(Timestamp, ExecutionId)>,
    /// How often something has come to wait, and who is to be told of the next time.
    arrivals: u64,
    wakers: Vec<Waker>,
}

impl Executions {
    fn create(&mut self, new: Create, now: Timestamp) -> Created {
        let by_key = new.idempotency_key().and_then(|key| self.by_key.get(key)).copied();
        let place = match self.by_id.entry(by_key.unwrap_or(new.id())) {
            Entry::Occupied(existing) => return Created::Existing((**existing.get()).clone()),
            Entry::Vacant(place) => place,
        };
        let execution = place.insert(new.boxed_at(now));
        if let Some(key) = &execution.idempotency_key {
            self.by_key.insert(key.clone(), execution.id);
        }
        self.in_order.insert(Cursor::of(execution));
        let woken = self.due.index(execution);
        self.woken.extend(woken);
        Created::New((**execution).clone())
    }

    /// Changes one, and what there is to do. `None` if there is none.
    fn change<T>(&mut self, id: &ExecutionId, change: impl FnOnce(&mut Execution) -> T) -> Option<(T, &Execution)> {
        let execution = self.by_id.get_mut(id)?;
        self.due.forget(execution);
        let changed = change(execution);
        let woken = self.due.index(execution);
        self.woken.extend(woken);
        Some((changed, execution))
    }

    fn delete(&mut self, id: &ExecutionId) -> Result<(), Refusal> {
        self.by_id.get(id).ok_or(Refusal::NotFound)?.check_delete()?;
        if let Some(execution) = self.by_id.remove(id) {
            self.due.forget(&execution);
            self.in_order.remove(&Cursor::of(&execution));
            if let Some(key) = &execution.idempotency_key {
                self.by_key.remove(key);
            }
        }
        Ok(())
    }

    fn delete_ended(&mut self, retention: &Retention, after: Option<Cursor>, limit: usize, now: Timestamp) -> Deleted {
        let created_before = retention.created_before(now);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.in_order.range((from, Bound::Unbounded));
        let mut old: Vec<Cursor> =
            behind.take_while(|cursor| cursor.created_at() < created_before).take(limit + 1).copied().collect();
        let has_more = old.len() > limit;
        old.truncate(limit);
        let mut deleted = 0;
        for cursor in &old {
            let id = cursor.id();
            let is_over = self.by_id.get(&id).is_some_and(|found| retention.is_over(found, now));
            if is_over && self.delete(&id).is_ok() {
                deleted += 1;
            }
        }
        Deleted { deleted, unreadable: 0, next: old.last().copied().filter(|_| has_more) }
    }

    fn due(&self, claim: &Claim, now: Timestamp) -> Vec<ExecutionId> {
        let limit = claim.limit as usize;
        if let Some(id) = claim.only {
            let execution = self.by_id.get(&id);
            let is_due = execution.is_some_and(|execution| execution.is_due(now) && claim.wants(&execution.type_));
            return if is_due && limit > 0 { vec![id] } else { Vec::new() };
        }
        let wanted = self.due.waiting.iter().filter(|(type_, _)| claim.wants(type_));
        let mut due: Vec<_> = wanted.flat_map(|(_, waiting)| first_due(waiting, now, limit)).collect();
        due.sort_unstable();
        due.truncate(limit);
        due.into_iter().map(|(_, _, cursor)| cursor.id()).collect()
    }

    fn list(&self, options: &ListOptions) -> Page {
        let is_on = |execution: &&Execution| options.matches(execution) && options.is_behind(execution);
        let find = |cursor: &Cursor| self.by_id.get(&cursor.id()).map(|found| &**found);
        let take = options.page_len() + 1;
        let found: Vec<Execution> = match (options.newest_first, options.after) {
            (false, None) => self.in_order.iter().filter_map(find).filter(is_on).take(take).cloned().collect(),
            (false, Some(after)) => {
                self.in_order.range(after..).filter_map(find).filter(is_on).take(take).cloned().collect()
            }
            (true, None) => self.in_order.iter().rev().filter_map(find).filter(is_on).take(take).cloned().collect(),
            (true, Some(after)) => {
                self.in_order.range(..after).rev().filter_map(find).filter(is_on).take(take).cloned().collect()
            }
        };
        options.page_in_order(found)
    }

    fn sweep(&mut self, limit: u32, now: Timestamp) -> Swept {
        let mut swept = Swept::default();
        while swept.total() < limit {
            let Some(&(at, id)) = self.due.to_sweep.first() else { break };
            if at > now {
                break;
            }
            let Some((Applied::Changed, execution)) = self.change(&id, |execution| execution.sweep(now)) else { break };
            swept.count(execution);
        }
        swept.next_due = self.due.to_sweep.first().map(|(at, _)| at.since(now));
        swept
    }
}

impl Due {
    /// Takes one in; gives who is to be told of it.
    fn index(&mut self, execution: &Execution) -> Vec<Waker> {
        if let Some(at) = execution.sweep_at() {
            self.to_sweep.insert((at, execution.id));
        }
        let Some(place) = place(execution) else { return Vec::new() };
        match self.waiting.get_mut(&execution.type_) {
            Some(waiting) => drop(waiting.insert(place)),
            None => drop(self.waiting.insert(execution.type_.clone(), Waiting::from([place]))),
        }
        self.arrivals += 1;
        std::mem::take(&mut self.wakers)
    }

    fn forget(&mut self, execution: &Execution) {
        if let Some(place) = place(execution) {
            if let Some(waiting) = self.waiting.get_mut(&execution.type_) {
                waiting.remove(&place);
                if waiting.is_empty() {
                    self.waiting.remove(&execution.type_);
                }
            }
        }
        if let Some(at) = execution.sweep_at() {
            self.to_sweep.remove(&(at, execution.id));
        }
    }
}

fn place(execution: &Execution) -> Option<(Reverse<i16>, Timestamp, Cursor)> {
    let place = (Reverse(execution.priority), execution.run_at, Cursor::of(execution));
    execution.status.is_waiting().then_some(place)
}

/// The first that are due. Those of one priority that are not are passed over in one step, however many there are.
fn first_due(waiting: &Waiting, now: Timestamp, limit: usize) -> Vec<(Reverse<i16>, Timestamp, Cursor)> {
    let mut due = Vec::with_capacity(limit.min(waiting.len()).min(1024));
    let mut next = waiting.first();
    while let Some(&(priority, ..)) = next {
        let is_next = |place: &&(Reverse<i16>, Timestamp, Cursor)| place.0 == priority && place.1 <= now;
        let from = (priority, Timestamp::default(), Cursor::MIN);
        due.extend(waiting.range(from..).take_while(is_next).take(limit - due.len()));
        let Some(lower) = priority.0.checked_sub(1).filter(|_| due.len() < limit) else { break };
        next = waiting.range((Reverse(lower), Timestamp::default(), Cursor::MIN)..).next();
    }
    due
}

impl ExecutionStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "memory", consistent_list: true, survives: Survives::Nothing, value_len_bytes_max: None }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        let mut executions = self.lock();
        let now = self.now();
        Ok(new.into_iter().map(|new| executions.create(new, now)).collect())
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        Ok(self.lock().by_id.get(id).map(|found| (**found).clone()))
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let executions = self.lock();
        let found = executions.by_key.get(key).and_then(|id| executions.by_id.get(id));
        Ok(found.map(|found| (**found).clone()))
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        let mut answers = Vec::with_capacity(writes.len());
        self.write(&writes, |answer| answers.push(answer.cloned()));
        Ok(answers)
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        let mut answers = Vec::with_capacity(writes.len());
        self.write(&writes, |answer| answers.push(answer.map(|_| ())));
        Ok(answers)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        Ok(self.lock().list(options))
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        Ok(self.lock().delete(id))
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        let mut executions = self.lock();
        let now = self.now();
        Ok(executions.delete_ended(retention, after, limit.max(1) as usize, now))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, claim.start())
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, claim.reservation())
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        let mut executions = self.lock();
        let now = self.now();
        let beat = |lease: &Lease| {
            let beat = executions.change(&lease.id, |execution| execution.renew(lease.epoch, extend, now));
            beat.map_or(Beat::Lost, |(beat, _)| beat)
        };
        Ok(leases.iter().map(beat).collect())
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        let mut executions = self.lock();
        let now = self.now();
        Ok(executions.sweep(limit, now))
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(Some(self.now()))
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        let seen = self.lock().due.arrivals;
        poll_fn(move |cx| {
            let mut executions = self.lock();
            if executions.due.arrivals != seen {
                return Poll::Ready(());
            }
            let wakers = &mut executions.due.wakers;
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                // Whoever waits no longer is forgotten at the next arrival.
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}
