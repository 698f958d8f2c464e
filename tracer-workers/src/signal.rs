//! What an attempt is told, and how it comes to know.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What an attempt is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Signal {
    /// Go on.
    #[default]
    Go,
    /// Somebody has cancelled the execution: return, or be dropped.
    Stop,
    /// The worker is shutting down: the attempt is given back.
    GiveBack,
    /// Somebody else may have it: be dropped, write nothing.
    Lost,
}

/// What it was told last.
#[derive(Default)]
pub(crate) struct Told {
    last: Mutex<Signal>,
    news: Notify,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Signal> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn last(&self) -> Signal {
        *self.lock()
    }

    /// Nothing takes back that it is lost.
    pub(crate) fn tell(&self, signal: Signal) {
        let mut last = self.lock();
        let is_news = *last != Signal::Lost && *last != signal;
        if is_news {
            *last = signal;
            drop(last);
            self.news.notify_waiters();
        }
    }

    /// Waits until it is told one that is awaited; what it was told before counts.
    pub(crate) async fn wait_for(&self, is_awaited: impl Fn(Signal) -> bool) -> Signal {
        loop {
            // From before the look: what it is told after that is not missed.
            let news = self.news.notified();
            let last = self.last();
            if is_awaited(last) {
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
    fn nothing_takes_back_that_it_is_lost() {
        let told = Told::default();
        for (signal, last) in
            [(Signal::Stop, Signal::Stop), (Signal::Lost, Signal::Lost), (Signal::GiveBack, Signal::Lost)]
        {
            told.tell(signal);
            assert_eq!(told.last(), last);
        }
    }
}
