//! The attempts that a worker has: their leases, and what they are told.

use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracer::execution::{Beat, ExecutionId, Lease};
use tracer::recorder::IdMap;

use crate::attempt::Teller;
use crate::signal::Signal;

struct Attempt {
    teller: Teller,
    /// What it counts under, if that is limited.
    key: Option<String>,
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
}

#[derive(Default)]
struct Attempts {
    by_id: IdMap<ExecutionId, Attempt>,
    /// What all are told, and those that come from now on.
    told: Signal,
    /// How many were given back, or were to be.
    given_back: usize,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new attempt in. One before it at the same execution that is here still has been lost, which nobody else would
    /// tell it.
    pub(crate) fn add(&self, teller: Teller, key: Option<String>, until: Instant) {
        let mut attempts = self.lock();
        teller.tell(attempts.told);
        attempts.given_back += usize::from(attempts.told == Signal::GiveBack);
        let id = teller.attempt().execution().id;
        let before = attempts.by_id.insert(id, Attempt { teller, key, until, is_gone: false });
        drop(attempts);
        drop(before);
    }

    /// Their outcomes are known.
    pub(crate) fn remove(&self, leases: impl IntoIterator<Item = Lease, IntoIter: ExactSizeIterator>) {
        let leases = leases.into_iter();
        let mut removed = Vec::with_capacity(leases.len());
        let mut attempts = self.lock();
        for lease in leases {
            if let Entry::Occupied(attempt) = attempts.by_id.entry(lease.id) {
                // A later attempt at the same execution may be here by now.
                if attempt.get().lease() == lease {
                    removed.push(attempt.remove());
                }
            }
        }
        drop(attempts);
        self.changed.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    pub(crate) fn len_of(&self, type_: &str) -> usize {
        self.lock().by_id.values().filter(|attempt| attempt.type_() == type_).count()
    }

    pub(crate) fn len_of_key(&self, type_: &str, key: &str) -> usize {
        let has_key = |attempt: &&Attempt| attempt.type_() == type_ && attempt.key.as_deref() == Some(key);
        self.lock().by_id.values().filter(has_key).count()
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
    use std::sync::Arc;

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
            held.add(teller, None, Instant::now());
        }
        held.remove([leases[0]]);
        assert_eq!(held.leases(), [leases[1]]);
        held.remove([leases[1]]);
        assert_eq!(held.len(), 0);
    }
}
