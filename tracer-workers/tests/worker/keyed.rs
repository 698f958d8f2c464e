//! Limits by key when there is more of a key than may run: what waits, in which order, and what it costs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracer::execution::{
    AttemptEnd, Execution, ExecutionId, ExecutionManager, ExecutionStatus as S, ExecutionStore, Failure, ListOptions,
    NewExecution, RetryPolicy, Written,
};
use tracer_workers::{Attempt, Left, Running, Worker};

use crate::trouble::cut_off;
use crate::{LEASE, SECOND, ended, manager, new, run};

const MS: Duration = Duration::from_millis(1);

/// The payloads of those that ran, in order.
type Ran = Arc<Mutex<Vec<u64>>>;

/// A worker, one at a time for each key: the payload in seven thousands. An execution takes so long.
fn worker<M: ExecutionStore + Clone + 'static>(manager: &ExecutionManager<M>, takes: Duration) -> (Worker<M>, Ran) {
    let ran = Ran::default();
    let handle = {
        let ran = ran.clone();
        move |_: Attempt, number: u64| {
            ran.lock().unwrap().push(number);
            async move {
                sleep(takes).await;
                Ok::<_, Failure>(number)
            }
        }
    };
    let key = |execution: &Execution| Some((execution.payload.as_u64()? / 7000).to_string());
    (Worker::new(manager.clone()).handler("work", handle).limit_per_key("work", 1, key), ran)
}

async fn backlog<M: ExecutionStore>(manager: &ExecutionManager<M>, count: u64) -> Vec<ExecutionId> {
    let created = manager.create_all((0..count).map(new).collect::<Vec<_>>()).await.unwrap();
    created.into_iter().map(|created| created.unwrap().id).collect()
}

async fn all<M: ExecutionStore>(manager: &ExecutionManager<M>, ids: &[ExecutionId]) -> Vec<Execution> {
    let mut all = Vec::new();
    for id in ids {
        all.push(manager.get(id).await.unwrap());
    }
    all
}

async fn until(what: impl Fn() -> bool) {
    let by = Instant::now() + LEASE * 100;
    while !what() {
        assert!(Instant::now() < by, "it does not come to that");
        sleep(MS).await;
    }
}

#[test]
fn those_of_one_key_begin_in_order() {
    run(async {
        let manager = manager();
        // One runs, and as many wait as may run at once.
        let (worker, ran) = worker(&manager, SECOND);
        let ids = backlog(&manager, 17).await;
        let running = worker.start();
        for id in &ids {
            let done = ended(&manager, id).await;
            assert_eq!((done.status, done.attempts, done.epoch, done.history.len()), (S::Completed, 1, 1, 1));
        }
        assert_eq!(*ran.lock().unwrap(), (0..17).collect::<Vec<_>>());
        assert_eq!(running.shutdown(SECOND).await, Left::default());
    });
}

#[test]
fn what_waits_for_its_key_keeps_its_lease() {
    run(async {
        let manager = manager();
        let (worker, ran) = worker(&manager, LEASE * 2);
        let ids = backlog(&manager, 4).await;
        let running = worker.start();
        crate::while_nothing_is_lost(&manager, async {
            for id in &ids {
                assert_eq!(ended(&manager, id).await.epoch, 1);
            }
        })
        .await;
        assert_eq!(*ran.lock().unwrap(), [0, 1, 2, 3]);
        drop(running);
    });
}

/// As if its process had died.
#[test]
fn a_worker_that_is_gone_has_cost_nobody_an_attempt_who_had_not_begun() {
    // In the midst of giving back, too.
    for after in [0, 1, 2, 5, 20, 490, 510, 5000] {
        run(async {
            let manager = manager();
            let (first, ran) = worker(&manager, 100 * MS);
            let ids = backlog(&manager, 100).await;
            let running = first.start();
            until(|| !ran.lock().unwrap().is_empty()).await;
            sleep(after * MS).await;
            drop(running);
            sleep(MS).await;
            let begun = ran.lock().unwrap().clone();
            for execution in all(&manager, &ids).await {
                let has_begun = execution.payload.as_u64().is_some_and(|number| begun.contains(&number));
                assert_eq!(execution.attempts, u32::from(has_begun), "{execution:?}");
            }
            let (second, again) = worker(&manager, MS);
            let running = second.start();
            for id in &ids {
                let execution = ended(&manager, id).await;
                // What ran when the worker died was its only attempt.
                let expected = if execution.status == S::Failed { begun.last().copied() } else { None };
                assert_eq!(execution.payload.as_u64().filter(|_| execution.status == S::Failed), expected);
                assert_eq!((execution.attempts, execution.history.len()), (1, 1), "{execution:?}");
            }
            assert_eq!(again.lock().unwrap().len(), 100 - begun.len());
            drop(running);
        });
    }
}

/// How often each was taken.
async fn taken<M: ExecutionStore>(manager: &ExecutionManager<M>) -> (u64, u64) {
    let (mut taken, mut count, mut after) = (0, 0, None);
    loop {
        let mut options = ListOptions::new().type_("work").limit(1000);
        options.after = after;
        let page = manager.list(options).await.unwrap();
        taken += page.iter().map(|execution| execution.epoch).sum::<u64>();
        count += page.len() as u64;
        after = page.next;
        if after.is_none() {
            return (taken, count);
        }
    }
}

#[test]
fn behind_many_of_one_key_another_has_its_turn_and_few_are_taken_in_vain() {
    for takes in [MS, 20 * MS, SECOND / 4] {
        run(async {
            let manager = manager();
            let (worker, ran) = worker(&manager, takes);
            let new = |number: u64| new(number).max_attempts(2);
            manager.create_all((0..2000).map(new).collect::<Vec<_>>()).await.unwrap();
            let other = manager.create(new(7000)).await.unwrap().id;
            let (running, began) = (worker.start(), Instant::now());
            let done = ended(&manager, &other).await;
            assert!(began.elapsed() < SECOND + takes, "{:?}", began.elapsed());
            assert_eq!((done.status, done.attempts), (S::Completed, 1));
            until(|| ran.lock().unwrap().len() == 2001).await;
            let took = began.elapsed();
            assert!(took < (takes * 2001) * 2 + 3 * SECOND, "{takes:?}: {took:?}");
            let (taken, count) = taken(&manager).await;
            // One that is far from its turn is looked at every half a minute, until it is not: every minute on average.
            assert!(taken < count * (4 + took.as_secs() / 60), "{takes:?}: {taken} for {count}");
            let ran = ran.lock().unwrap();
            let order: Vec<u64> = ran.iter().copied().filter(|number| *number < 7000).collect();
            let inversions = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
            assert!(inversions <= 50, "{takes:?}: {inversions} times out of order");
            drop(running);
        });
    }
}

#[test]
fn a_failure_is_remembered_however_long_the_backlog() {
    run(async {
        let manager = manager();
        let fails = |attempt: Attempt, number: u64| async move {
            sleep(20 * MS).await;
            match number {
                0 if attempt.execution().attempts == 1 => Err(Failure::new("first").code("FIRST").retryable(true)),
                _ => Ok(number),
            }
        };
        let worker = Worker::new(manager.clone()).handler("work", fails);
        let running = worker.limit_per_key("work", 1, |_| Some("all".to_owned())).start();
        let retry = RetryPolicy::new(SECOND, SECOND).without_jitter();
        let new = |number: u64| new(number).max_attempts(2).retry(retry);
        let created = manager.create_all((0..500).map(new).collect::<Vec<_>>()).await.unwrap();
        let failed = ended(&manager, &created[0].as_ref().unwrap().id).await;
        let ends: Vec<_> = failed.history.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [Some(AttemptEnd::Failed), Some(AttemptEnd::Completed)]);
        assert_eq!(failed.attempts, 2);
        drop(running);
    });
}

#[test]
fn what_waits_can_be_cancelled_and_others_have_its_turn() {
    run(async {
        let manager = manager();
        let (worker, ran) = worker(&manager, LEASE);
        let ids = backlog(&manager, 4).await;
        let running = worker.start();
        until(|| !ran.lock().unwrap().is_empty()).await;
        sleep(SECOND).await;
        assert_eq!(manager.cancel(&ids[1], None).await.unwrap().status, S::Cancelled);
        for (number, id) in ids.iter().enumerate() {
            let execution = ended(&manager, id).await;
            let expected = if number == 1 { (S::Cancelled, 0) } else { (S::Completed, 1) };
            assert_eq!((execution.status, execution.attempts), expected);
        }
        assert_eq!(*ran.lock().unwrap(), [0, 2, 3]);
        drop(running);
    });
}

#[test]
fn a_shutdown_gives_back_at_once_what_waits() {
    run(async {
        let manager = manager();
        let (worker, ran) = worker(&manager, SECOND * 5);
        let ids = backlog(&manager, 10).await;
        let running = worker.start();
        until(|| !ran.lock().unwrap().is_empty()).await;
        let before = all(&manager, &ids).await;
        assert!(before[1..].iter().all(|before| before.reserved), "they wait under leases");
        let stopping = tokio::spawn(running.shutdown(LEASE));
        sleep(100 * MS).await;
        let after = all(&manager, &ids).await;
        assert_eq!(after[0].status, S::Running);
        for (before, after) in before[1..].iter().zip(&after[1..]) {
            assert_eq!((after.status, after.attempts, after.history.len()), (S::Retrying, 0, 0));
            assert_eq!(after.run_at, before.run_at, "in its old place");
        }
        assert_eq!(stopping.await.unwrap(), Left::default());
        assert_eq!(manager.get(&ids[0]).await.unwrap().status, S::Completed);
    });
}

#[test]
fn what_waits_and_is_lost_is_anothers() {
    run(async {
        let (manager, cut) = cut_off();
        let (one, ran) = worker(&manager, LEASE * 10);
        let ids = backlog(&manager, 3).await;
        let running = one.lease(LEASE).start();
        until(|| !ran.lock().unwrap().is_empty()).await;
        // It does not reach the store: its leases end.
        cut.set(Some(Written::Nothing));
        sleep(LEASE * 2).await;
        cut.set(None);
        // What ran has failed for good; the others are reserved anew, and one of them has the place.
        assert_eq!(ended(&manager, &ids[0]).await.status, S::Failed);
        for id in &ids[1..] {
            let execution = ended(&manager, id).await;
            assert_eq!((execution.status, execution.attempts, execution.epoch), (S::Completed, 1, 2));
        }
        assert_eq!(*ran.lock().unwrap(), [0, 1, 2]);
        drop(running);
    });
}

#[test]
fn an_attempt_that_the_store_does_not_let_begin_is_tried_again_and_runs() {
    run(async {
        let (manager, cut) = cut_off();
        let errors = Arc::new(Mutex::new(0));
        let told = errors.clone();
        let (worker, ran) = worker(&manager, SECOND);
        let id = backlog(&manager, 1).await[0];
        cut.refuse(id, "begin");
        let running = worker.on_error(move |_| *told.lock().unwrap() += 1).start();
        until(|| *errors.lock().unwrap() >= 3).await;
        assert!(ran.lock().unwrap().is_empty() && manager.get(&id).await.unwrap().reserved);
        cut.refuse(id, "nothing");
        let done = ended(&manager, &id).await;
        assert_eq!((done.status, done.attempts, done.epoch), (S::Completed, 1, 1));
        drop(running);
    });
}

#[test]
fn an_attempt_that_the_store_never_lets_begin_is_left_to_its_lease() {
    run(async {
        let (manager, cut) = cut_off();
        let (worker, ran) = worker(&manager, SECOND);
        let ids = backlog(&manager, 2).await;
        cut.refuse(ids[0], "begin");
        let running = worker.start();
        // Those behind it are not held up for ever, and it comes again.
        assert_eq!(ended(&manager, &ids[1]).await.status, S::Completed);
        sleep(LEASE * 3).await;
        let refused = manager.get(&ids[0]).await.unwrap();
        assert!(refused.attempts == 0 && refused.epoch >= 2, "{refused:?}");
        assert_eq!(*ran.lock().unwrap(), [1]);
        drop(running);
    });
}

/// One that was written before there were reservations.
#[test]
fn a_store_that_knows_no_reservations_does() {
    run(async {
        let (manager, cut) = cut_off();
        cut.knows_no_reservations.store(true, Ordering::Relaxed);
        let (worker, ran) = worker(&manager, SECOND);
        let ids = backlog(&manager, 40).await;
        let running: Running = worker.start();
        until(|| ran.lock().unwrap().len() == 3).await;
        // There is an attempt to be stopped.
        let waits = all(&manager, &ids).await.into_iter().rfind(|one| one.status == S::Running && one.payload != 2);
        let waits = waits.expect("they wait under leases").id;
        assert!(manager.cancel(&waits, None).await.unwrap().cancel_requested);
        for id in &ids {
            let execution = ended(&manager, id).await;
            let expected = if *id == waits { (S::Cancelled, 0) } else { (S::Completed, 1) };
            assert_eq!((execution.status, execution.attempts), expected);
        }
        assert_eq!(ran.lock().unwrap().len(), 39);
        drop(running);
    });
}

#[test]
fn a_key_that_may_never_run_holds_up_no_other() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        let worker = Worker::new(manager.clone()).handler("work", handle).handler("other", handle);
        let running = worker.limit_per_key("work", 0, |_| Some("none".to_owned())).start();
        let never = manager.create(new(())).await.unwrap().id;
        let other = manager.create(NewExecution::new("other").payload(())).await.unwrap().id;
        assert_eq!(ended(&manager, &other).await.status, S::Completed);
        sleep(LEASE * 10).await;
        let never = manager.get(&never).await.unwrap();
        assert!(never.status == S::Retrying && never.attempts == 0 && never.epoch < 40, "{never:?}");
        drop(running);
    });
}

/// Nothing has failed, whatever the store says.
#[test]
fn what_cannot_be_given_back_is_left_to_its_lease() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        let worker = Worker::new(manager.clone()).lease(LEASE).handler("work", handle);
        let id = manager.create(new(())).await.unwrap().id;
        cut.refuse(id, "release");
        let running = worker.limit_per_key("work", 0, |_| Some("none".to_owned())).start();
        sleep(LEASE * 4).await;
        let waits = manager.get(&id).await.unwrap();
        assert_eq!((waits.attempts, waits.history.len()), (0, 0), "{waits:?}");
        assert!(!waits.status.is_terminal() && waits.epoch > 1, "{waits:?}");
        drop(running);
    });
}
