//! What an attempt is told, and how it comes to know.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What an attempt is told: what is further down weighs more, and is never taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Signal {
    /// Go on.
    #[default]
    Go,
    /// The worker is shutting down: return soon.
    ShutDown,
    /// Somebody has cancelled the execution: return, or be dropped.
    Stop,
    /// There is no time left: be dropped, and be given back.
    GiveBack,
    /// Somebody else may have it: be dropped, write nothing.
    Lost,
}

/// What it was told that weighs most.
#[derive(Default)]
pub(crate) struct Told {
    last: Mutex<Signal>,
    /// The handler was told that the worker is shutting down.
    heard: AtomicBool,
    news: Notify,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Signal> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn last(&self) -> Signal {
        *self.lock()
    }

    /// For the handler: what it was told last.
    pub(crate) fn hear(&self) -> Signal {
        let last = self.last();
        self.heard.fetch_or(matches!(last, Signal::ShutDown | Signal::GiveBack), Ordering::Relaxed);
        last
    }

    /// Whether the handler has heard that the worker is shutting down.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, signal: Signal) {
        let mut last = self.lock();
        if signal > *last {
            *last = signal;
            drop(last);
            self.news.notify_waiters();
        }
    }

    /// Waits until it is told more than this; what it was told before counts.
    pub(crate) async fn more_than(&self, known: Signal) -> Signal {
        loop {
            // From before the look: what it is told after that is not missed.
            let news = self.news.notified();
            let last = self.last();
            if last > known {
                return last;
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_late_has_heard_as_well() {
        for signal in [Signal::ShutDown, Signal::GiveBack] {
            let told = Told::default();
            told.tell(signal);
            assert!(!told.has_heard());
            assert_eq!(told.hear(), signal);
            assert!(told.has_heard());
        }
    }

    #[test]
    fn nothing_takes_back_what_weighs_more() {
        use Signal::{GiveBack, Lost, ShutDown, Stop};
        let told = Told::default();
        for (signal, last) in [(Stop, Stop), (ShutDown, Stop), (GiveBack, GiveBack), (Lost, Lost), (GiveBack, Lost)] {
            told.tell(signal);
            assert_eq!(told.last(), last);
        }
    }
}
