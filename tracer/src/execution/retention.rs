//! How long what has ended is kept.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use super::error::ExecutionError;
use super::list::Cursor;
use super::manager::ExecutionManager;
use super::record::Execution;
use super::status::ExecutionStatus;
use super::store::ExecutionStore;
use super::timestamp::Timestamp;

/// How many executions [`ExecutionManager::prune`] has looked at in one call of the store.
const STEP: u32 = 500;

/// How long executions are kept after their end. Only what has ended is ever deleted for its age.
///
/// Completed and cancelled ones are kept for as long as [`new`](Self::new) says. Dead letters (failed or timed out, and
/// [`redrive`](ExecutionManager::redrive) would give them another series of attempts) are kept for ever, unless
/// [`dead_letters`](Self::dead_letters) says for how long.
///
/// ```
/// use std::time::Duration;
/// use tracer::execution::Retention;
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let retention = Retention::new(DAY * 30).dead_letters(DAY * 90);
/// assert_eq!(Retention::new(DAY), DAY.into());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    done: Duration,
    dead_letters: Option<Duration>,
}

impl Retention {
    /// Keeps completed and cancelled ones for so long after their end, in milliseconds, and all dead letters.
    pub const fn new(kept: Duration) -> Self {
        Self { done: kept, dead_letters: None }
    }

    /// Keeps dead letters for so long after their end, no longer for ever.
    #[must_use]
    pub const fn dead_letters(mut self, kept: Duration) -> Self {
        self.dead_letters = Some(kept);
        self
    }

    /// Whether `execution` ended longer ago than it is kept.
    pub fn is_over(&self, execution: &Execution, now: Timestamp) -> bool {
        let kept = match execution.status {
            ExecutionStatus::Completed | ExecutionStatus::Cancelled => Some(self.done),
            ExecutionStatus::Failed | ExecutionStatus::TimedOut => self.dead_letters,
            ExecutionStatus::Pending | ExecutionStatus::Running | ExecutionStatus::Retrying => None,
        };
        kept.zip(execution.completed_at).is_some_and(|(kept, ended)| ended < before(now, kept))
    }

    /// The statuses of those that it may be over for.
    pub const fn statuses(&self) -> &'static [ExecutionStatus] {
        use ExecutionStatus as S;
        match self.dead_letters {
            None => &[S::Completed, S::Cancelled],
            Some(_) => &[S::Completed, S::Cancelled, S::Failed, S::TimedOut],
        }
    }

    /// How long everything is kept after its end, at least.
    pub fn shortest(&self) -> Duration {
        self.dead_letters.map_or(self.done, |dead| dead.min(self.done))
    }

    /// What was created then or later is kept, whatever has become of it: nobody need look at it.
    pub fn created_before(&self, now: Timestamp) -> Timestamp {
        before(now, self.shortest())
    }
}

impl From<Duration> for Retention {
    fn from(kept: Duration) -> Self {
        Self::new(kept)
    }
}

fn before(now: Timestamp, kept: Duration) -> Timestamp {
    let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(kept))
}

/// What one call of [`ExecutionStore::delete_ended`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// How many it has deleted.
    pub deleted: u32,
    /// How many have ended, as it seems, and cannot be read: they were left alone.
    pub unreadable: u32,
    /// Behind which place to go on, if there may be more.
    pub next: Option<Cursor>,
}

/// What [`ExecutionManager::prune`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// How many it has deleted.
    pub deleted: u64,
    /// How many have ended, as it seems, and cannot be read: they were left alone. Each is found by its id, and can be
    /// deleted by that.
    pub unreadable: u64,
}

impl<S: ExecutionStore> ExecutionManager<S> {
    /// Deletes what has ended longer ago than it is to be kept, with all that is known of it; idempotency keys are free
    /// again, and parts of a whole stay when the whole goes. A [`Duration`] says how long completed and cancelled ones are
    /// kept, and keeps dead letters. What is created by its key, as schedules do, and again later, runs again then.
    ///
    /// It looks once at everything that was created longer ago than that, in many calls of the store, each of which is
    /// bounded. Any number may do so at once, beside anything else: nothing is deleted that has not ended, or has been driven
    /// anew.
    ///
    /// # Errors
    ///
    /// `STORE` as soon as the store fails. What was deleted before stays deleted, and the call may be repeated.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops behind the call that is under way.
    pub async fn prune(&self, retention: impl Into<Retention>) -> Result<Pruned, ExecutionError> {
        let retention = retention.into();
        let mut pruned = Pruned::default();
        let mut after = None;
        loop {
            let step = self.store().delete_ended(&retention, after, STEP).await;
            let Deleted { deleted, unreadable, next } = step.map_err(|error| ExecutionError::new(None, error))?;
            pruned.deleted += u64::from(deleted);
            pruned.unreadable += u64::from(unreadable);
            if next.is_none() {
                return Ok(pruned);
            }
            after = next;
            let_others_run().await;
        }
    }
}

/// Not every store waits for anything.
fn let_others_run() -> impl Future<Output = ()> {
    let mut is_asked = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut is_asked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::NewExecution;
    use crate::id::ExecutionId;

    fn ended(status: ExecutionStatus, at: u64) -> Execution {
        let create = NewExecution::new("work").create(ExecutionId::new(1).unwrap()).unwrap();
        let mut execution = create.at(Timestamp::from_unix_ms(1));
        (execution.status, execution.completed_at) = (status, Some(Timestamp::from_unix_ms(at)));
        execution
    }

    #[test]
    fn what_ended_longer_ago_than_it_is_kept_is_over_and_nothing_else() {
        use ExecutionStatus as S;
        let ms = Duration::from_millis;
        let is_over = |retention: Retention, status, at| {
            let is_over = retention.is_over(&ended(status, at), Timestamp::from_unix_ms(1000));
            assert!(!is_over || retention.statuses().contains(&status));
            is_over
        };
        for status in S::ALL {
            let is_done = matches!(status, S::Completed | S::Cancelled);
            assert!(!is_over(ms(100).into(), status, 900));
            assert_eq!(is_over(ms(100).into(), status, 899), is_done);
            let both = Retention::new(ms(100)).dead_letters(ms(300));
            assert_eq!(is_over(both, status, 899), is_done);
            assert!(!is_over(both, status, 700) || is_done);
            assert_eq!(is_over(both, status, 699), status.is_terminal());
            for forever in [Duration::MAX, ms(1000)] {
                assert!(!is_over(Retention::new(forever).dead_letters(forever), status, 0));
            }
        }
        assert!(
            !Retention::new(ms(0))
                .is_over(&Execution { completed_at: None, ..ended(S::Completed, 0) }, Timestamp::from_unix_ms(9))
        );
    }

    #[test]
    fn what_was_created_later_need_not_be_looked_at() {
        let (now, ms) = (Timestamp::from_unix_ms(1000), Duration::from_millis);
        for (done, dead, expected) in [(100, None, 900), (100, Some(300), 900), (300, Some(100), 900), (2000, None, 0)]
        {
            let retention = Retention { done: ms(done), dead_letters: dead.map(ms) };
            assert_eq!(retention.created_before(now), Timestamp::from_unix_ms(expected));
        }
    }
}
