//! The attempts that a worker has: their leases, and what they are told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracer::execution::{Beat, ExecutionId, Lease};

/// What an attempt is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Go on.
    Go,
    /// Somebody has cancelled the execution: return, or be dropped.
    Stop,
    /// The worker is shutting down: the attempt is given back.
    GiveBack,
    /// Somebody else may have it: be dropped, write nothing.
    Lost,
}

struct Attempt {
    lease: Lease,
    type_: String,
    /// What it counts under, if that is limited.
    key: Option<String>,
    signal: watch::Sender<Signal>,
    /// Until when the lease can be trusted: its length after the moment before it was asked for.
    until: Instant,
}

/// The attempts whose outcome the store does not know yet.
#[derive(Default)]
pub(crate) struct Held {
    attempts: Mutex<Attempts>,
    changed: Notify,
}

#[derive(Default)]
struct Attempts {
    by_id: HashMap<ExecutionId, Attempt>,
    /// How many were given back, once all are.
    given_back: Option<usize>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new attempt in, and gives what tells it what to do. One before it at the same execution that is here still
    /// has been lost, which nobody else would tell it.
    pub(crate) fn add(
        &self,
        lease: Lease,
        type_: String,
        key: Option<String>,
        until: Instant,
    ) -> watch::Receiver<Signal> {
        let mut attempts = self.lock();
        let first = if attempts.given_back.is_some() { Signal::GiveBack } else { Signal::Go };
        attempts.given_back = attempts.given_back.map(|count| count + 1);
        let (signal, receiver) = watch::channel(first);
        let before = attempts.by_id.insert(lease.id, Attempt { lease, type_, key, signal, until });
        if let Some(before) = before {
            before.tell(Signal::Lost);
        }
        receiver
    }

    /// Their outcomes are known.
    pub(crate) fn remove(&self, leases: impl IntoIterator<Item = Lease>) {
        let mut attempts = self.lock();
        for lease in leases {
            // A later attempt at the same execution may be here by now.
            if attempts.by_id.get(&lease.id).is_some_and(|attempt| attempt.lease == lease) {
                attempts.by_id.remove(&lease.id);
            }
        }
        drop(attempts);
        self.changed.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    pub(crate) fn len_of(&self, type_: &str) -> usize {
        self.lock().by_id.values().filter(|attempt| attempt.type_ == type_).count()
    }

    pub(crate) fn len_of_key(&self, type_: &str, key: &str) -> usize {
        let has_key = |attempt: &&Attempt| attempt.type_ == type_ && attempt.key.as_deref() == Some(key);
        self.lock().by_id.values().filter(has_key).count()
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lock().by_id.values().map(|attempt| attempt.lease).collect()
    }

    /// Tells each what its heartbeat was answered. `asked` is from before the heartbeat was sent.
    pub(crate) fn beat(&self, leases: &[Lease], beats: &[Beat], asked: Instant, extend: Duration) {
        let mut attempts = self.lock();
        for (lease, beat) in leases.iter().zip(beats) {
            let Some(attempt) = attempts.by_id.get_mut(&lease.id).filter(|attempt| attempt.lease == *lease) else {
                continue;
            };
            if *beat != Beat::Lost {
                attempt.until = asked + extend;
            }
            match beat {
                Beat::Held => {}
                Beat::CancelRequested => attempt.tell(Signal::Stop),
                Beat::Lost => attempt.tell(Signal::Lost),
            }
        }
    }

    /// Stops those whose lease can no longer be trusted, because the store was not reached in time.
    pub(crate) fn drop_untrusted(&self, now: Instant) {
        for attempt in self.lock().by_id.values().filter(|attempt| attempt.until <= now) {
            attempt.tell(Signal::Lost);
        }
    }

    /// Tells all of them.
    pub(crate) fn tell_all(&self, signal: Signal) {
        for attempt in self.lock().by_id.values() {
            attempt.tell(signal);
        }
    }

    /// Has all of them given back, and those that come from now on.
    pub(crate) fn give_back(&self) {
        let mut attempts = self.lock();
        attempts.given_back = Some(attempts.by_id.len());
        for attempt in attempts.by_id.values() {
            attempt.tell(Signal::GiveBack);
        }
    }

    /// How many were given back, or were to be.
    pub(crate) fn given_back(&self) -> usize {
        self.lock().given_back.unwrap_or_default()
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
    /// Nothing takes back that an attempt is lost.
    fn tell(&self, signal: Signal) {
        self.signal.send_if_modified(|told| {
            let is_news = *told != Signal::Lost && *told != signal;
            if is_news {
                *told = signal;
            }
            is_news
        });
    }
}
