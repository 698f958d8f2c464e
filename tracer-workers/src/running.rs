//! A worker that runs, and how it stops.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::held::Held;
use crate::signal::Signal;

/// How much of the time that a shutdown may take is for giving back, at most.
const GIVE_BACK_MAX: Duration = Duration::from_secs(1);

/// A worker that runs. Dropped, it stops at once, as if the process had died; better is [`shutdown`](Self::shutdown).
#[must_use = "dropped, it stops at once"]
pub struct Running {
    pub(crate) claims: JoinHandle<()>,
    pub(crate) background: Vec<JoinHandle<()>>,
    pub(crate) settler: JoinHandle<()>,
    pub(crate) held: Arc<Held>,
    pub(crate) stop: watch::Sender<bool>,
}

/// What a worker had in its hands when it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Attempts that were not finished in time: they were given back, or cancelled if that was asked for, or are left to
    /// their leases; and those whose ends the store had not taken by then. Those that their handlers gave back before are not
    /// counted.
    pub given_back: usize,
}

impl Running {
    /// Whether a part of it has ended by itself, which only a panic of the store brings about, or the end of the runtime: it may
    /// do nothing any more. For health checks.
    pub fn is_finished(&self) -> bool {
        let mut parts = self.background.iter().chain([&self.claims, &self.settler]);
        parts.any(JoinHandle::is_finished)
    }

    /// Claims no more, lets what runs come to its end, and gives back what does not: another worker takes it up at once, and
    /// it does not count as an attempt. It is over after `within`, whatever the store and the handlers do; the last quarter
    /// of that, at most a second, is for giving back.
    ///
    /// Handlers that listen hear of it [at once](crate::Attempt::cancelled), and may return sooner; the others are dropped in that last
    /// quarter. One that is being cancelled is cancelled then, however much of its grace is left.
    ///
    /// That goes for a handler inside of a node that is to run at most once, too, and nobody can know what that has done: the next
    /// attempt fails for good, with `AT_MOST_ONCE`. So let `within` be longer than such a node takes.
    ///
    /// What waits for a place of its key ([`limit_per_key`](crate::Worker::limit_per_key)) is given back at once, and was no
    /// attempt.
    ///
    /// What a claim brings that was under way is begun, or given back if it comes in that last quarter. What was not given
    /// back in time, because the store does not answer or a handler does not even stop when it is dropped, is left to its
    /// lease, as is what a claim takes that is still under way in the end: that is not counted.
    pub async fn shutdown(mut self, within: Duration) -> Left {
        let began = Instant::now();
        self.stop.send_replace(true);
        self.held.tell_all(Signal::ShutDown);
        let (claims, held) = (&mut self.claims, self.held.clone());
        let mut done = pin!(async move {
            drop(claims.await);
            held.none().await;
        });
        let for_giving_back = (within / 4).min(GIVE_BACK_MAX);
        if tokio::time::timeout(within.saturating_sub(for_giving_back), &mut done).await.is_err() {
            self.held.tell_all(Signal::GiveBack);
            drop(tokio::time::timeout(within.saturating_sub(began.elapsed()), &mut done).await);
        }
        Left { given_back: self.held.given_back() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.held.tell_all(Signal::Lost);
        self.claims.abort();
        self.settler.abort();
        self.background.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("attempts", &self.held.len()).finish_non_exhaustive()
    }
}
