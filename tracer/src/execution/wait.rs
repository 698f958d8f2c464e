//! Waiting until an execution has ended.

use std::future::Future;
use std::time::Duration;

use super::error::{ExecutionError, ExecutionErrorKind};
use super::manager::ExecutionManager;
use super::record::Execution;
use super::store::ExecutionStore;
use crate::id::ExecutionId;

const NAP_MIN: Duration = Duration::from_millis(10);
const NAP_MAX: Duration = Duration::from_secs(1);

/// How long to sleep after having slept so long: a tenth of it, so that an end is seen at most so much late.
fn nap(slept: Duration) -> Duration {
    (slept / 10).clamp(NAP_MIN, NAP_MAX)
}

impl<S: ExecutionStore> ExecutionManager<S> {
    /// Waits until an execution has ended ([`is_terminal`](super::ExecutionStatus::is_terminal)), and gives it, whatever its
    /// end. One that has failed and will be tried again has not ended.
    ///
    /// `sleep` is the runtime's, which this crate has none of. The store is asked at once, then again and again: after
    /// 10 ms at first, later after a tenth of what was slept so far, at most after 1 s, and once more in the end. `within` is
    /// how long all of the sleeps take; what the store takes to answer comes on top.
    ///
    /// ```
    /// # mod tokio { pub mod time { pub async fn sleep(_: std::time::Duration) {} } }
    /// # async fn example() -> Result<(), tracer::execution::ExecutionError> {
    /// use std::time::Duration;
    /// use tracer::execution::{ExecutionManager, MemoryStore, NewExecution};
    ///
    /// let manager = ExecutionManager::new(MemoryStore::default());
    /// let id = manager.create(NewExecution::new("import")).await?.id;
    /// # manager.cancel(&id, None).await?;
    /// let ended = manager.wait(&id, Duration::from_secs(30), tokio::time::sleep).await?;
    /// println!("{}", ended.status);
    /// # Ok(()) }
    /// # let mut example = Box::pin(example());
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(matches!(example.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(()))));
    /// ```
    ///
    /// # Errors
    ///
    /// `NOT_ENDED` when `within` is over, with what the execution is then; the wait may begin again. `NOT_FOUND` if there is
    /// none, or none any more; `STORE` as soon as the store fails.
    ///
    /// # Cancel safety
    ///
    /// It only reads, and can be dropped.
    pub async fn wait<F: Future>(
        &self,
        id: &ExecutionId,
        within: Duration,
        sleep: impl Fn(Duration) -> F,
    ) -> Result<Execution, ExecutionError> {
        let mut slept = Duration::ZERO;
        loop {
            let execution = self.get(id).await?;
            if execution.status.is_terminal() {
                return Ok(execution);
            }
            let left = within.saturating_sub(slept);
            if left.is_zero() {
                let status = execution.status;
                return Err(ExecutionError::new(Some(*id), ExecutionErrorKind::NotEnded { within, status }));
            }
            let nap = nap(slept).min(left);
            sleep(nap).await;
            slept += nap;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::clock::ManualClock;
    use crate::execution::{ExecutionStatus, Failure, MemoryStore, NewExecution};

    const SECOND: Duration = Duration::from_secs(1);

    /// What comes out of a future that never waits for anything else.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn manager() -> (ExecutionManager<MemoryStore>, ExecutionId) {
        let manager = ExecutionManager::new(MemoryStore::with_clock(ManualClock::new(SECOND)));
        let id = now(manager.create(NewExecution::new("work").max_attempts(2))).unwrap().id;
        (manager, id)
    }

    #[test]
    fn whatever_the_end_it_is_given_and_without_sleep_if_it_was_there() {
        let ends: [fn(&ExecutionManager<MemoryStore>, &ExecutionId) -> Execution; 4] = [
            |manager, id| now(manager.complete(id, 1)).unwrap(),
            |manager, id| now(manager.fail(id, Failure::new("no"))).unwrap(),
            |manager, id| now(manager.cancel(id, None)).unwrap(),
            |manager, id| now(manager.timeout(id)).unwrap(),
        ];
        for end in ends {
            let (manager, id) = manager();
            now(manager.start(&id)).unwrap();
            let ended = end(&manager, &id);
            let waited = now(manager.wait(&id, Duration::ZERO, |_| -> std::future::Ready<()> { panic!("no sleep") }));
            assert_eq!(waited.unwrap(), ended);
        }
    }

    #[test]
    fn an_end_that_comes_meanwhile_is_seen_and_a_wait_for_a_retry_is_none() {
        let (manager, id) = manager();
        now(manager.start(&id)).unwrap();
        let naps = RefCell::new(0);
        let sleep = |_| {
            *naps.borrow_mut() += 1;
            match *naps.borrow() {
                3 | 9 => drop(now(manager.fail(&id, Failure::new("no").retryable(true))).unwrap()),
                6 => drop(now(manager.start(&id)).unwrap()),
                _ => {}
            }
            ready(())
        };
        let ended = now(manager.wait(&id, SECOND, sleep)).unwrap();
        assert_eq!((ended.status, *naps.borrow()), (ExecutionStatus::Failed, 9));
    }

    #[test]
    fn naps_grow_and_are_bounded_and_are_as_long_as_was_asked_for() {
        let (manager, id) = manager();
        for within in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(12_345), SECOND * 3600] {
            let naps = RefCell::new(Vec::new());
            let sleep = |nap| {
                naps.borrow_mut().push(nap);
                ready(())
            };
            let error = now(manager.wait(&id, within, sleep)).unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("NOT_ENDED", true));
            let naps = naps.into_inner();
            assert_eq!(naps.iter().sum::<Duration>(), within);
            assert!(naps.len() as u64 <= 100 + within.as_secs(), "{} naps in {within:?}", naps.len());
            let [all @ .., _last] = &*naps else { continue };
            assert!(all.is_sorted() && all.iter().all(|nap| (NAP_MIN..=NAP_MAX).contains(nap)), "{all:?}");
        }
        let error = now(manager.wait(&id, SECOND * 2, ready)).unwrap_err();
        let text = format!("execution {id}: expected an end within 2s, found that it is pending [NOT_ENDED]");
        assert_eq!(error.to_string(), text);
        assert_eq!(now(manager.get(&id)).unwrap().version, 1);
    }

    #[test]
    fn what_is_not_there_or_no_more_is_not_found() {
        let (manager, id) = manager();
        let sleep = |_| ready(now(manager.delete(&id)));
        assert_eq!(now(manager.wait(&id, SECOND, sleep)).unwrap_err().code(), "NOT_FOUND");
        assert_eq!(now(manager.wait(&id, SECOND, ready)).unwrap_err().code(), "NOT_FOUND");
    }
}
