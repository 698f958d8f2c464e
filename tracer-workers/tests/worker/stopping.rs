//! What stops an attempt: a shutdown, a cancellation, both; and those that are run by their ids.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::time::{Instant, sleep};
use tracer::execution::{ExecutionManager, ExecutionStatus as S, Failure, Written};
use tracer_workers::{Attempt, Worker};

use crate::trouble::cut_off;
use crate::{Gauge, LEASE, SECOND, ended, forever, manager, new, run, while_nothing_is_lost};

#[test]
fn a_handler_hears_of_a_shutdown_at_once_and_may_give_its_attempt_back() {
    run(async {
        let manager = manager();
        let handle = |attempt: Attempt, retryable: bool| async move {
            assert!(!attempt.is_shutting_down());
            attempt.cancelled().await;
            assert!(attempt.is_cancelled() && attempt.is_shutting_down());
            attempt.keep("row", 7).await?;
            Err::<(), _>(Failure::new("to be continued").retryable(retryable))
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let [back, failed] = [true, false].map(|retryable| manager.create(new(retryable)));
        let (back, failed) = (back.await.unwrap().id, failed.await.unwrap().id);
        sleep(SECOND).await;
        let asked = Instant::now();
        worker.shutdown(SECOND * 60).await;
        assert!(asked.elapsed() < SECOND, "{:?}", asked.elapsed());
        let back = manager.get(&back).await.unwrap();
        assert_eq!((back.status, back.attempts, &back.checkpoints["row"]), (S::Retrying, 0, &7.into()));
        assert_eq!(manager.get(&failed).await.unwrap().status, S::Failed);
    });
}

/// It fails as it would at any other time: for who has not asked, or says when to try again.
#[test]
fn a_failure_during_a_shutdown_counts_unless_it_gives_back() {
    run(async {
        let manager = manager();
        let handle = |attempt: Attempt, hears: bool| async move {
            sleep(SECOND * 2).await;
            // A log is no handler.
            assert!(format!("{attempt:?}").contains("is_cancelled: true"));
            let failure = Failure::new("too many requests").retryable(true);
            Err::<(), _>(if hears && attempt.is_cancelled() { failure.retry_after(LEASE) } else { failure })
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let ids = manager.create_all([false, true].map(|hears| new(hears).max_attempts(3))).await.unwrap();
        sleep(SECOND).await;
        worker.shutdown(SECOND * 60).await;
        for id in ids.into_iter().map(|created| created.unwrap().id) {
            let failed = manager.get(&id).await.unwrap();
            assert_eq!((failed.status, failed.attempts), (S::Retrying, 1));
            assert_eq!(failed.error.unwrap().message, "too many requests");
        }
    });
}

#[test]
fn what_is_being_cancelled_when_the_worker_stops_is_cancelled() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| std::future::pending::<Result<(), Failure>>();
        let worker = Worker::new(manager.clone()).grace(SECOND * 60).handler("work", handle).start();
        let id = manager.create(new(()).max_attempts(3)).await.unwrap().id;
        sleep(SECOND).await;
        manager.cancel(&id, Some("too dear")).await.unwrap();
        // A heartbeat has told.
        sleep(LEASE / 2).await;
        assert_eq!(manager.get(&id).await.unwrap().status, S::Running);
        worker.shutdown(SECOND * 10).await;
        let cancelled = manager.get(&id).await.unwrap();
        assert_eq!((cancelled.status, &cancelled.metadata["cancellationReason"]), (S::Cancelled, &"too dear".into()));
    });
}

/// Who works on in another thread can ask.
#[test]
fn an_attempt_that_is_over_says_so_whatever_has_ended_it() {
    run(async {
        let manager = manager();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let handle = {
            let kept = kept.clone();
            move |attempt: Attempt, seconds: u32| {
                kept.lock().unwrap().push(attempt);
                async move {
                    sleep(SECOND * seconds).await;
                    Ok::<_, Failure>(())
                }
            }
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let over = async |seconds: u32| {
            let id = manager.create(new(seconds).timeout(SECOND * 3)).await.unwrap().id;
            sleep(SECOND).await;
            let attempt = kept.lock().unwrap().pop().unwrap();
            assert!(!attempt.is_cancelled());
            (ended(&manager, &id).await.status, attempt.is_cancelled())
        };
        assert_eq!(over(2).await, (S::Completed, true));
        assert_eq!(over(5).await, (S::TimedOut, true));
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn one_that_is_run_by_its_id_keeps_its_lease() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| async {
            sleep(LEASE * 5).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        let done = while_nothing_is_lost(&manager, worker.run_by_id(&id, LEASE)).await.unwrap().unwrap();
        assert_eq!((done.status, done.attempts), (S::Completed, 1));
    });
}

#[test]
fn a_cancellation_reaches_one_that_is_run_by_its_id() {
    run(async {
        let manager = manager();
        let handle = |attempt: Attempt, (): ()| async move {
            attempt.cancelled().await;
            Err::<(), _>(Failure::new("stopped").retryable(true))
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        let cancelling = async {
            sleep(SECOND).await;
            manager.cancel(&id, None).await.unwrap();
        };
        let (done, ()) = tokio::join!(worker.run_by_id(&id, LEASE), cancelling);
        assert_eq!(done.unwrap().unwrap().status, S::Cancelled);
    });
}

#[test]
fn one_that_is_run_by_its_id_stops_when_its_lease_is_over() {
    run(async {
        let (manager, cut) = cut_off();
        let gauge = Gauge::default();
        let handle = {
            let gauge = gauge.clone();
            move |_: Attempt, (): ()| forever(gauge.enter())
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        let cutting = async {
            sleep(SECOND).await;
            cut.set(Some(Written::Nothing));
        };
        let began = Instant::now();
        let (done, ()) = tokio::join!(worker.run_by_id(&id, LEASE), cutting);
        assert_eq!(done.unwrap(), None);
        assert!(began.elapsed() <= LEASE, "{:?}", began.elapsed());
        assert_eq!(gauge.now.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn who_has_no_handlers_takes_none_by_its_id() {
    run(async {
        let manager = manager();
        let id = manager.create(new(())).await.unwrap().id;
        assert_eq!(Worker::new(ExecutionManager::clone(&manager)).run_by_id(&id, LEASE).await.unwrap(), None);
        assert_eq!(manager.get(&id).await.unwrap().status, S::Pending);
    });
}

/// Who called knows what it did, and nobody says that it failed.
#[test]
fn a_result_of_one_that_is_run_by_its_id_is_not_made_a_failure_by_an_outage() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = |_: Attempt, (): ()| async {
            sleep(SECOND).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(()).max_attempts(1)).await.unwrap().id;
        let cutting = async {
            sleep(SECOND / 2).await;
            cut.set(Some(Written::Nothing));
            sleep(LEASE + LEASE / 2).await;
            cut.set(None);
        };
        let (done, ()) = tokio::join!(worker.run_by_id(&id, LEASE), cutting);
        assert_eq!(done.unwrap_err().code(), "STORE");
        assert_eq!(manager.get(&id).await.unwrap().status, S::Running);
    });
}
