//! Results that the store does not take.

use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::time::{Instant, sleep};
use tracer::execution::{AttemptEnd, Claim, Command, ExecutionStatus as S, Failure, VALUE_DEPTH_MAX, Write, Written};
use tracer_workers::{Attempt, Left, Worker};

use crate::trouble::cut_off;
use crate::{LEASE, SECOND, ended, manager, new, run};

/// It would be acknowledged, and neither it nor a list with it could be read again.
#[test]
fn a_result_that_could_not_be_read_again_is_a_failed_attempt() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, depth: usize| async move {
            Ok::<_, Failure>((0..depth).fold(json!(1), |value, _| json!([value])))
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let [deep, deeper] =
            [VALUE_DEPTH_MAX, VALUE_DEPTH_MAX + 1].map(|depth| manager.create(new(depth).max_attempts(3)));
        let (deep, deeper) = (deep.await.unwrap().id, deeper.await.unwrap().id);
        assert_eq!(ended(&manager, &deep).await.status, S::Completed);
        let failed = ended(&manager, &deeper).await;
        let error = failed.error.unwrap();
        assert_eq!((failed.status, failed.attempts, error.code.as_deref()), (S::Failed, 1, Some("INVALID_RESULT")));
        assert!(error.message.contains("at most 100 arrays and objects in each other"), "{}", error.message);
        worker.shutdown(SECOND).await;
    });
}

async fn handle(_: Attempt, number: u32) -> Result<u32, Failure> {
    sleep(SECOND).await;
    Ok(number)
}

#[test]
fn a_result_that_is_not_taken_holds_up_no_other_and_is_a_failed_attempt() {
    run(async {
        let (manager, cut) = cut_off();
        let bad = manager.create(new(0).max_attempts(2)).await.unwrap().id;
        cut.refuse(bad, "complete");
        // With the bad one, and after it.
        let good = manager.create_all((1..40).map(new)).await.unwrap();
        let started = Instant::now();
        let worker = Worker::new(manager.clone()).concurrency(4).handler("work", handle).start();
        for one in good {
            assert_eq!(ended(&manager, &one.unwrap().id).await.status, S::Completed);
        }
        assert!(started.elapsed() < LEASE, "{:?}", started.elapsed());
        let failed = ended(&manager, &bad).await;
        assert_eq!((failed.status, failed.attempts), (S::Failed, 2));
        assert_eq!(failed.error.unwrap().code.as_deref(), Some("STORE"));
        assert_eq!(worker.shutdown(SECOND).await, Left { given_back: 0 });
    });
}

/// As a server does that answers with a page of HTML.
async fn fails_at_length(attempt: Attempt, (): ()) -> Result<u32, Failure> {
    match attempt.execution().attempts {
        1 => Err(Failure::new("é".repeat(10_000)).code("HTTP_503").retryable(true).retry_after(SECOND * 7)),
        attempts => Ok(attempts),
    }
}

#[test]
fn a_failure_that_says_too_much_for_the_store_keeps_its_verdict() {
    run(async {
        for by_id in [false, true] {
            let (manager, cut) = cut_off();
            cut.message_len_max.store(5000, Ordering::Relaxed);
            let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
            let worker = Worker::new(manager.clone()).handler("work", fails_at_length);
            if by_id {
                worker.run_by_id(&id, LEASE).await.unwrap();
            }
            let running = worker.start();
            sleep(SECOND).await;
            let error = manager.get(&id).await.unwrap().error.unwrap();
            assert_eq!((error.code.as_deref(), error.retry_after), (Some("HTTP_503"), Some(SECOND * 7)));
            assert_eq!(error.message.len(), 4095);
            assert!(error.message.ends_with("é…"), "{}", error.message);
            let done = ended(&manager, &id).await;
            assert_eq!((done.status, done.attempts, done.result), (S::Completed, 2, Some(2.into())));
            running.shutdown(SECOND).await;
        }
    });
}

#[test]
fn a_failure_that_the_store_does_not_take_even_so_is_told_by_what_the_store_says() {
    run(async {
        for by_id in [false, true] {
            let (manager, cut) = cut_off();
            cut.message_len_max.store(300, Ordering::Relaxed);
            let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
            let worker = Worker::new(manager.clone()).handler("work", fails_at_length);
            if by_id {
                worker.run_by_id(&id, LEASE).await.unwrap();
            } else {
                let running = worker.start();
                ended(&manager, &id).await;
                running.shutdown(SECOND).await;
            }
            let failed = manager.get(&id).await.unwrap();
            let error = failed.error.unwrap();
            assert_eq!((failed.status, failed.attempts, error.code.as_deref()), (S::Failed, 1, Some("TOO_LARGE")));
            assert!(error.message.ends_with("expected at most 300 bytes"), "{}", error.message);
        }
    });
}

#[test]
fn an_attempt_of_which_the_store_takes_no_end_is_left_to_its_lease() {
    run(async {
        for by_id in [false, true] {
            let (manager, cut) = cut_off();
            cut.message_len_max.store(0, Ordering::Relaxed);
            let id = manager.create(new(()).max_attempts(1)).await.unwrap().id;
            let worker = Worker::new(manager.clone()).handler("work", fails_at_length);
            if by_id {
                assert_eq!(worker.run_by_id(&id, LEASE).await.unwrap_err().code(), "TOO_LARGE");
            }
            let running = worker.start();
            let failed = ended(&manager, &id).await;
            assert_eq!(failed.error.unwrap().code.as_deref(), Some(Failure::LEASE_LOST));
            running.shutdown(SECOND).await;
        }
    });
}

/// However many have ended with it.
#[test]
fn a_result_that_is_not_taken_delays_those_beside_it_by_a_second() {
    run(async {
        let (manager, cut) = cut_off();
        let created = manager.create_all((0..100).map(new)).await.unwrap();
        let ids: Vec<_> = created.into_iter().map(|one| one.unwrap().id).collect();
        cut.refuse(ids[99], "complete");
        let started = Instant::now();
        let worker = Worker::new(manager.clone()).concurrency(100).handler("work", handle).start();
        for id in &ids[..99] {
            assert_eq!(ended(&manager, id).await.status, S::Completed);
        }
        let took = started.elapsed();
        assert!(took < SECOND * 9 / 4, "{took:?}");
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn others_do_not_wait_for_an_answer_that_takes_long() {
    run(async {
        let (manager, cut) = cut_off();
        *cut.refusal_takes.lock().unwrap() = LEASE / 2;
        let bad = manager.create(new(0)).await.unwrap().id;
        cut.refuse(bad, "complete");
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        sleep(SECOND * 3).await;
        let asked = Instant::now();
        let good = manager.create(new(1)).await.unwrap().id;
        assert_eq!(ended(&manager, &good).await.status, S::Completed);
        assert!(asked.elapsed() < SECOND * 2, "{:?}", asked.elapsed());
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_result_of_an_attempt_that_is_lost_is_not_tried_again() {
    run(async {
        let (manager, cut) = cut_off();
        let id = manager.create(new(0)).await.unwrap().id;
        cut.refuse(id, "complete");
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        sleep(SECOND * 2).await;
        let lease = manager.get(&id).await.unwrap().token();
        let release = Write::under(lease, Command::Release { delay: LEASE * 100 });
        manager.settle(vec![release]).await.unwrap().remove(0).unwrap();
        // Until a heartbeat has told, and the next try is due.
        sleep(LEASE / 3 + SECOND * 3).await;
        assert_eq!(worker.shutdown(SECOND).await, Left { given_back: 0 });
        let history = manager.get(&id).await.unwrap().history;
        assert_eq!((history.len(), history[0].end), (1, Some(AttemptEnd::Released)));
    });
}

/// What was done is not lost, unless another worker is there that takes it over: the one that did it writes first.
#[test]
fn a_result_is_kept_after_an_outage_that_was_longer_than_its_lease() {
    for offset in 0..20 {
        run(async {
            let (manager, cut) = cut_off();
            let worker = Worker::new(manager.clone()).concurrency(300).handler("work", handle).start();
            let ids = manager.create_all((0..300).map(|number| new(number).max_attempts(1))).await.unwrap();
            sleep(SECOND / 2).await;
            cut.set(Some(Written::Nothing));
            sleep(LEASE * 3 + SECOND / 10 * offset).await;
            cut.set(None);
            for id in ids {
                let done = ended(&manager, &id.unwrap().id).await;
                assert_eq!((done.status, done.result), (S::Completed, Some(done.payload)));
            }
            worker.shutdown(SECOND).await;
        });
    }
}

/// Only leases that are over are waited for.
#[test]
fn what_others_have_lost_is_found_though_an_end_of_ones_own_is_never_taken() {
    run(async {
        let (manager, cut) = cut_off();
        let other = manager.create(new(1).delay(LEASE / 2)).await.unwrap().id;
        let bad = manager.create(new(0)).await.unwrap().id;
        cut.refuse(bad, "complete");
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        sleep(LEASE / 2).await;
        let lease = SECOND * 3;
        let claim = Claim { types: vec![], only: Some(other), limit: 1, worker: "dead".to_owned(), lease };
        assert_eq!(manager.claim(claim).await.unwrap().len(), 1);
        sleep(lease + SECOND).await;
        let lost = manager.get(&other).await.unwrap();
        assert_eq!((lost.status, lost.attempts), (S::Failed, 1));
        assert_eq!(manager.get(&bad).await.unwrap().status, S::Running);
        worker.shutdown(SECOND).await;
    });
}

/// Each call waits long for its answer, as those do that find no connection free.
#[test]
fn an_outage_is_not_answered_by_a_crowd_of_calls() {
    run(async {
        let (manager, cut) = cut_off();
        *cut.outage_takes.lock().unwrap() = LEASE / 3;
        // They end one after the other.
        let handle = |_: Attempt, number: u32| async move {
            sleep(SECOND + SECOND / 10 * number).await;
            Ok::<_, Failure>(number)
        };
        let worker = Worker::new(manager.clone()).concurrency(100).handler("work", handle).start();
        let created = manager.create_all((0..100).map(new)).await.unwrap();
        sleep(SECOND / 2).await;
        cut.set(Some(Written::Nothing));
        sleep(LEASE * 2 / 3).await;
        cut.set(None);
        for one in created {
            let done = ended(&manager, &one.unwrap().id).await;
            assert_eq!((done.status, done.attempts), (S::Completed, 1));
        }
        assert!(cut.writes.most() <= 8, "{} at once", cut.writes.most());
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_store_that_panics_keeps_no_lease_alive() {
    run(async {
        let (manager, cut) = cut_off();
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(7).max_attempts(2)).await.unwrap().id;
        sleep(SECOND / 2).await;
        cut.panics.store(true, Ordering::Relaxed);
        sleep(SECOND * 2).await;
        cut.panics.store(false, Ordering::Relaxed);
        let done = ended(&manager, &id).await;
        assert_eq!((done.status, done.attempts), (S::Completed, 2));
        worker.shutdown(SECOND).await;
    });
}
