//! The attempts that a worker has: their leases, and what they are told.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracer::execution::{Beat, ExecutionId, Lease};
use tracer::recorder::IdMap;

use crate::attempt::Teller;
use crate::signal::Signal;
use crate::turns::{BACK_MAX, Turns};

struct Attempt {
    teller: Teller,
    /// What it counts under, if that is limited.
    key: Option<Key>,
    /// Who waits for its turn: it was only reserved, and takes no place.
    turn: Option<oneshot::Sender<()>>,
    /// Since when it has its place.
    since: Instant,
    /// Until when the lease can be trusted: its length after the moment before it was asked for.
    until: Instant,
    /// The store has said that it is another's.
    is_gone: bool,
}

/// The attempts whose outcome the store does not know yet.
#[derive(Default)]
pub(crate) struct Held {
    attempts: Mutex<Attempts>,
    changed: Notify,
    /// A key has a place, and those that it could be for were given back.
    wanting: Notify,
    /// How many writes of ends that the store has not taken are to be tried again.
    again: AtomicUsize,
}

/// An end that is tried again, for as long as this lives.
pub(crate) struct Again(Arc<Held>);

impl Again {
    pub(crate) fn new(held: &Arc<Held>) -> Self {
        held.again.fetch_add(1, Ordering::Relaxed);
        Self(held.clone())
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.0.again.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Attempts {
    by_id: IdMap<ExecutionId, Attempt>,
    /// How many of these wait for their turn.
    waiting: usize,
    keys: HashMap<Key, OfKey>,
    /// With more of them they are looked through.
    keys_max: usize,
    is_wanting: bool,
    /// What all are told, and those that come from now on.
    told: Signal,
    /// How many were given back, or were to be.
    given_back: usize,
}

/// A type, and what it is limited by.
type Key = (String, String);

/// Those with one key.
struct OfKey {
    running: usize,
    /// Those that wait for a place, in order; some may be gone by now.
    waiting: VecDeque<ExecutionId>,
    turns: Turns,
}

impl OfKey {
    fn is_idle(&self, now: Instant) -> bool {
        self.running == 0 && self.waiting.is_empty() && self.turns.are_over(now)
    }
}

/// How much a worker has room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many with one key may run at once.
    pub(crate) of_key: usize,
    /// How many may wait for their turn, with all keys together.
    pub(crate) waiting: usize,
    /// No more of one key are to wait than have their turn in that time, besides as many as may run.
    pub(crate) within: Duration,
}

/// When an attempt may begin whose key is limited.
#[derive(Debug)]
pub(crate) enum Turn {
    Now,
    /// Once it is told.
    Later(oneshot::Receiver<()>),
    /// There are too many that wait: it is to be given back for so long.
    Back(Duration),
}

/// So many keys are remembered though nothing of them is here.
const IDLE_MAX: usize = 1000;

impl Held {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new attempt in. One before it at the same execution that is here still has been lost, which nobody else would
    /// tell it.
    pub(crate) fn add(&self, teller: Teller, until: Instant) {
        let mut attempts = self.lock();
        let before = attempts.add(Attempt { teller, key: None, turn: None, since: until, until, is_gone: false });
        drop(attempts);
        drop(before);
    }

    /// Likewise, of a key.
    pub(crate) fn add_with_key(&self, teller: Teller, key: String, limits: Limits, until: Instant) -> Turn {
        let now = Instant::now();
        let execution = teller.attempt().execution();
        let (id, key) = (execution.id, (execution.type_.clone(), key));
        let mut attempts = self.lock();
        // One before it at the same execution has no place any more.
        let before = attempts.take(id);
        let Attempts { waiting, keys, keys_max, .. } = &mut *attempts;
        if keys.len() > *keys_max {
            keys.retain(|_, of| !of.is_idle(now));
            // All of them are looked at as often as they have become twice as many.
            *keys_max = IDLE_MAX.max(2 * keys.len());
        }
        let new = || OfKey { running: 0, waiting: VecDeque::new(), turns: Turns::new(limits.of_key) };
        let of = keys.entry(key.clone()).or_insert_with(new);
        let may_wait = limits.of_key.saturating_add(of.turns.within(limits.within, now));
        let (key, turn, answer) = if of.running < limits.of_key {
            of.running += 1;
            of.turns.begins(now);
            (Some(key), None, Turn::Now)
        } else if limits.of_key == 0 {
            (None, None, Turn::Back(BACK_MAX))
        } else if of.waiting.len() < may_wait && *waiting < limits.waiting {
            let (sender, receiver) = oneshot::channel();
            of.waiting.push_back(id);
            (Some(key), Some(sender), Turn::Later(receiver))
        } else {
            (None, None, Turn::Back(of.turns.give_back(now)))
        };
        attempts.add(Attempt { teller, key, turn, since: now, until, is_gone: false });
        drop(attempts);
        drop(before);
        answer
    }

    /// What was reserved has begun: from now on it is told what the attempt is.
    pub(crate) fn begin(&self, teller: Teller) {
        let mut attempts = self.lock();
        let Some(attempt) = attempts.by_id.get_mut(&teller.attempt().execution().id) else { return };
        if attempt.lease() == teller.attempt().lease() {
            teller.tell(attempt.teller.attempt().told().last());
            let before = std::mem::replace(&mut attempt.teller, teller);
            drop(attempts);
            drop(before);
        }
    }

    /// Their outcomes are known.
    pub(crate) fn remove(&self, leases: impl IntoIterator<Item = Lease, IntoIter: ExactSizeIterator>) {
        let leases = leases.into_iter();
        let mut removed = Vec::with_capacity(leases.len());
        let mut attempts = self.lock();
        for lease in leases {
            // A later attempt at the same execution may be here by now.
            if attempts.by_id.get(&lease.id).is_some_and(|attempt| attempt.lease() == lease) {
                removed.extend(attempts.take(lease.id));
            }
        }
        let is_wanting = std::mem::take(&mut attempts.is_wanting);
        drop(attempts);
        self.changed.notify_one();
        if is_wanting {
            self.wanting.notify_one();
        }
    }

    /// Waits until a key has a place that those could have that were given back.
    pub(crate) async fn wanting(&self) {
        self.wanting.notified().await;
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Those that take a place.
    pub(crate) fn running(&self) -> usize {
        let attempts = self.lock();
        attempts.by_id.len() - attempts.waiting
    }

    /// Likewise, of a type.
    pub(crate) fn running_of(&self, type_: &str) -> usize {
        self.lock().by_id.values().filter(|attempt| attempt.turn.is_none() && attempt.type_() == type_).count()
    }

    /// Whether this is the attempt that is here, as far as the store has said: its lease may be over.
    pub(crate) fn has(&self, lease: Lease) -> bool {
        let attempts = self.lock();
        attempts.by_id.get(&lease.id).is_some_and(|attempt| attempt.lease() == lease && !attempt.is_gone)
    }

    /// Whether it has its lease for sure: not long ago the store has said so.
    pub(crate) fn is_sure_of(&self, lease: Lease, now: Instant) -> bool {
        let attempts = self.lock();
        attempts.by_id.get(&lease.id).is_some_and(|attempt| attempt.lease() == lease && attempt.until > now)
    }

    /// Whether the leases are over of some whose ends are still to be written: who sweeps now takes them for lost.
    pub(crate) fn would_lose_ends(&self, now: Instant) -> bool {
        let is_over = |attempt: &Attempt| attempt.until <= now && !attempt.is_gone;
        self.again.load(Ordering::Relaxed) > 0 && self.lock().by_id.values().any(is_over)
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lock().by_id.values().map(Attempt::lease).collect()
    }

    /// Tells each what its heartbeat was answered. `asked` is from before the heartbeat was sent.
    pub(crate) fn beat(&self, leases: &[Lease], beats: &[Beat], asked: Instant, extend: Duration) {
        let mut attempts = self.lock();
        for (lease, beat) in leases.iter().zip(beats) {
            let Some(attempt) = attempts.by_id.get_mut(&lease.id).filter(|attempt| attempt.lease() == *lease) else {
                continue;
            };
            if *beat != Beat::Lost {
                attempt.until = asked + extend;
            }
            match beat {
                Beat::Held => {}
                Beat::CancelRequested => attempt.teller.tell(Signal::Stop),
                Beat::Lost => {
                    attempt.is_gone = true;
                    attempt.teller.tell(Signal::Lost);
                }
            }
        }
    }

    /// Stops those whose lease can no longer be trusted, because the store was not reached in time.
    pub(crate) fn drop_untrusted(&self, now: Instant) {
        for attempt in self.lock().by_id.values().filter(|attempt| attempt.until <= now) {
            attempt.teller.tell(Signal::Lost);
        }
    }

    /// Tells all of them, and those that come from now on.
    pub(crate) fn tell_all(&self, signal: Signal) {
        let mut attempts = self.lock();
        attempts.told = signal;
        if signal == Signal::GiveBack {
            attempts.given_back = attempts.by_id.len();
        }
        for attempt in attempts.by_id.values() {
            attempt.teller.tell(signal);
        }
    }

    /// How many were given back, or were to be.
    pub(crate) fn given_back(&self) -> usize {
        self.lock().given_back
    }

    /// Waits until an outcome has become known.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        while self.len() > 0 {
            self.changed.notified().await;
        }
        // Somebody else may be waiting.
        self.changed.notify_one();
    }
}

impl Attempts {
    fn add(&mut self, attempt: Attempt) -> Option<Attempt> {
        attempt.teller.tell(self.told);
        self.given_back += usize::from(self.told == Signal::GiveBack);
        self.waiting += usize::from(attempt.turn.is_some());
        let id = attempt.teller.attempt().execution().id;
        let before = self.take(id);
        self.by_id.insert(id, attempt);
        before
    }

    /// Takes one out; whoever is next takes its place.
    fn take(&mut self, id: ExecutionId) -> Option<Attempt> {
        let attempt = self.by_id.remove(&id)?;
        self.waiting -= usize::from(attempt.turn.is_some());
        let Some(of) = attempt.key.as_ref().and_then(|key| self.keys.get_mut(key)) else { return Some(attempt) };
        if attempt.turn.is_some() {
            of.waiting.retain(|waiting| *waiting != id);
            return Some(attempt);
        }
        of.running -= 1;
        let now = Instant::now();
        of.turns.ends(now.saturating_duration_since(attempt.since), now);
        while let Some(next) = of.waiting.pop_front() {
            let Some(next) = self.by_id.get_mut(&next) else { continue };
            let Some(turn) = next.turn.take() else { continue };
            next.since = now;
            self.waiting -= 1;
            of.running += 1;
            // Who does not hear of it any more is about to be removed.
            let _ = turn.send(());
            return Some(attempt);
        }
        self.is_wanting |= of.turns.may_come_back(now);
        Some(attempt)
    }
}

impl Attempt {
    fn lease(&self) -> Lease {
        self.teller.attempt().lease()
    }

    fn type_(&self) -> &str {
        &self.teller.attempt().execution().type_
    }
}

#[cfg(test)]
mod tests {
    use tracer::execution::{Claim, Execution, ExecutionManager, MemoryStore, NewExecution};

    use super::*;
    use crate::attempt;

    /// Two attempts at one execution.
    async fn attempts(manager: &ExecutionManager<MemoryStore>) -> [Execution; 2] {
        manager.create(NewExecution::new("work")).await.unwrap();
        let lease = Duration::from_secs(30);
        let claim = Claim { types: vec![], only: None, limit: 1, worker: "worker".to_owned(), lease };
        let first = manager.claim(claim.clone()).await.unwrap().remove(0);
        manager.under(&first.token()).release(&first.id, Duration::ZERO).await.unwrap();
        [first, manager.claim(claim).await.unwrap().remove(0)]
    }

    #[tokio::test]
    async fn a_later_attempt_at_the_same_execution_stays_when_the_one_before_is_removed() {
        let manager = ExecutionManager::new(MemoryStore::default());
        let held = Held::default();
        let attempts = attempts(&manager).await;
        let leases = attempts.clone().map(|execution| execution.token());
        for execution in attempts {
            let (_, teller) = attempt::Attempt::new(execution, Arc::new(manager.clone()));
            held.add(teller, Instant::now());
        }
        held.remove([leases[0]]);
        assert_eq!(held.leases(), [leases[1]]);
        held.remove([leases[1]]);
        assert_eq!(held.len(), 0);
    }
}
