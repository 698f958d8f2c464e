//! Traced nodes inside handlers keep their results.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::sleep;
use tracer::execution::{AttemptOf, ExecutionStatus as S, Failure, NewExecution, Written};
use tracer::traced_node;
use tracer_workers::{Attempt, Worker};

use crate::trouble::cut_off;
use crate::{SECOND, ended, manager, new, run};

static CHARGES: AtomicU32 = AtomicU32::new(0);

#[traced_node(checkpoint)]
async fn charge() -> u32 {
    CHARGES.fetch_add(1, Ordering::Relaxed) + 1
}

#[traced_node(checkpoint = at_most_once)]
async fn notify() {
    panic!("in the midst of it");
}

#[test]
fn nodes_keep_their_results_and_each_attempt_has_its_trace() {
    run(async {
        let manager = manager();
        let resumed = |attempt: Attempt, (): ()| async move {
            let charged = charge().await;
            if attempt.execution().attempts < 3 {
                "no number".parse::<u32>()?;
            }
            Ok::<_, Failure>(charged)
        };
        let once = |_: Attempt, (): ()| async {
            notify().await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).handler("resumed", resumed).handler("once", once).start();
        let id = manager.create(NewExecution::new("resumed").max_attempts(3)).await.unwrap().id;
        let done = ended(&manager, &id).await;
        assert_eq!((done.attempts, done.result), (3, Some(1.into())));
        assert_eq!(CHARGES.load(Ordering::Relaxed), 1);
        for attempt in &done.history {
            let records = tracer::replay(attempt.trace_id);
            let env = records[0].as_env().unwrap();
            assert_eq!((env.env_id, &*env.source), (attempt.env_id, "resumed"));
            let of = AttemptOf::of(env).unwrap();
            assert_eq!((of.execution, of.attempt, of.epoch), (id, attempt.attempt, attempt.epoch));
            let nodes: Vec<_> = records.iter().filter_map(|record| Some(&*record.as_step()?.node)).collect();
            assert_eq!(nodes, ["charge", "charge"]);
        }
        let id = manager.create(NewExecution::new("once").max_attempts(5)).await.unwrap().id;
        let failed = ended(&manager, &id).await;
        let codes: Vec<_> =
            failed.history.iter().map(|one| one.error.as_ref().unwrap().code.as_deref().unwrap()).collect();
        assert_eq!((failed.status, &codes[..]), (S::Failed, &["PANIC", "AT_MOST_ONCE"][..]));
        worker.shutdown(SECOND).await;
    });
}

#[traced_node(checkpoint)]
async fn kept() -> u32 {
    7
}

#[test]
fn an_attempt_that_cannot_keep_what_it_has_done_tries_again() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = {
            let cut = cut.clone();
            move |attempt: Attempt, (): ()| {
                let cut = cut.clone();
                async move {
                    if attempt.lease().epoch == 1 {
                        cut.set(Some(Written::Nothing));
                        tokio::spawn(async move {
                            sleep(SECOND / 2).await;
                            cut.set(None);
                        });
                    }
                    Ok::<_, Failure>(kept().await)
                }
            }
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(())).await.unwrap().id;
        let done = ended(&manager, &id).await;
        assert_eq!((done.status, done.attempts, done.epoch, done.result), (S::Completed, 1, 1, Some(7.into())));
        worker.shutdown(SECOND).await;
    });
}

/// Heartbeats get through all the while.
#[test]
fn what_a_node_can_never_keep_uses_up_the_attempts() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(kept().await) };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        cut.refuse(id, "keep a checkpoint of");
        let failed = ended(&manager, &id).await;
        assert_eq!((failed.status, failed.attempts, failed.epoch), (S::Failed, 2, 2));
        assert_eq!(failed.error.unwrap().code.as_deref(), Some("STORE"));
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn what_a_handler_cannot_keep_fails_with_its_code_and_verdict() {
    run(async {
        let manager = manager();
        let handle = |attempt: Attempt, (): ()| async move {
            attempt.keep("", 1).await?;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(()).max_attempts(3)).await.unwrap().id;
        let failed = ended(&manager, &id).await;
        let error = failed.error.unwrap();
        assert_eq!((failed.status, failed.attempts, error.code.as_deref()), (S::Failed, 1, Some("INVALID_INPUT")));
        worker.shutdown(SECOND).await;
    });
}

#[traced_node(checkpoint = at_most_once)]
async fn charge_once() {
    sleep(SECOND * 5).await;
}

/// It is not known what the node has done.
#[test]
fn a_shutdown_that_cannot_wait_for_a_node_that_runs_at_most_once_leaves_nothing_to_go_on_with() {
    run(async {
        for (within, code) in [(SECOND * 10, None), (SECOND * 2, Some("AT_MOST_ONCE"))] {
            let manager = manager();
            let handle = |_: Attempt, (): ()| async {
                charge_once().await;
                Ok::<_, Failure>(())
            };
            let worker = || Worker::new(manager.clone()).handler("work", handle).start();
            let id = manager.create(new(()).max_attempts(3)).await.unwrap().id;
            let first = worker();
            sleep(SECOND).await;
            first.shutdown(within).await;
            let second = worker();
            assert_eq!(ended(&manager, &id).await.error.and_then(|error| error.code).as_deref(), code);
            second.shutdown(SECOND).await;
        }
    });
}
