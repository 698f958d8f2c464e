//! What a worker promises, on a clock that only runs when there is nothing else to do: no test waits.

mod keyed;
mod keys;
mod limits;
mod mistakes;
mod nodes;
mod retention;
mod settling;
mod simple;
mod stopping;
mod trouble;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracer::Clock;
use tracer::execution::{
    AttemptEnd, Execution, ExecutionId, ExecutionManager, ExecutionStatus as S, ExecutionStore, Failure, ListOptions,
    MemoryStore, NewExecution, Progress, RetryPolicy,
};
use tracer_workers::{Attempt, Left, Schedule, Worker};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(30);

/// Tokio's clock, which stands still while anything runs.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn ticks(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap() + 1_800_000_000_000_000_000
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        ticks
    }
}

fn manager() -> ExecutionManager<MemoryStore> {
    ExecutionManager::new(MemoryStore::with_clock(TokioClock(Instant::now())))
}

fn new(payload: impl Serialize) -> NewExecution {
    NewExecution::new("work").payload(payload)
}

/// Runs with time that passes as soon as everybody waits.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(test)
}

async fn ended<M: ExecutionStore>(manager: &ExecutionManager<M>, id: &ExecutionId) -> Execution {
    // Or it never will.
    let by = Instant::now() + LEASE * 100;
    loop {
        let execution = manager.get(id).await.unwrap();
        if execution.status.is_terminal() {
            return execution;
        }
        assert!(Instant::now() < by, "it has not ended: {execution:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Runs until it is dropped.
async fn forever(counted: Counted) -> Result<(), Failure> {
    std::future::pending::<()>().await;
    drop(counted);
    Ok(())
}

/// Counts how many run at once.
#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Counted(Gauge);

impl Gauge {
    fn enter(&self) -> Counted {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Deserialize)]
struct Order {
    number: u32,
}

#[derive(Serialize)]
struct Invoice {
    of: u32,
}

/// Does this, while somebody looks for lost leases all the time and finds none.
async fn while_nothing_is_lost<T>(
    manager: &ExecutionManager<impl tracer::execution::ExecutionStore>,
    work: impl Future<Output = T>,
) -> T {
    let sweeping = async {
        loop {
            sleep(SECOND).await;
            assert_eq!(manager.tick().await.unwrap().total(), 0);
        }
    };
    tokio::select! {
        done = work => done,
        () = sweeping => unreachable!(),
    }
}

#[test]
fn payloads_and_results_are_typed() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, order: Order| async move { Ok::<_, Failure>(Invoice { of: order.number }) };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let good = manager.create(new(json!({ "number": 17 }))).await.unwrap();
        let bad = manager.create(new(json!({ "number": "many" })).max_attempts(5)).await.unwrap();
        assert_eq!(ended(&manager, &good.id).await.result, Some(json!({ "of": 17 })));
        let bad = ended(&manager, &bad.id).await;
        assert_eq!((bad.status, bad.attempts), (S::Failed, 1));
        let failure = bad.error.unwrap();
        assert_eq!(failure.code.as_deref(), Some("INVALID_PAYLOAD"));
        assert!(failure.message.contains("expected u32"), "{failure:?}");
        assert_eq!(worker.shutdown(SECOND).await, Left::default());
    });
}

#[test]
fn errors_and_panics_are_retried_and_resume_from_what_was_kept() {
    run(async {
        let manager = manager();
        let handle = |attempt: Attempt, (): ()| async move {
            let row: u32 = attempt.kept("row").unwrap_or(0);
            attempt.progress(Progress::new(row.into(), 3)).await?;
            match row {
                0 => {
                    attempt.keep("row", 1).await?;
                    "no number".parse::<u32>()?;
                }
                1 => {
                    attempt.keep("row", 2).await?;
                    panic!("of row {row}");
                }
                _ => {}
            }
            Ok::<_, Failure>(row)
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let policy = RetryPolicy::new(SECOND, SECOND).without_jitter();
        let id = manager.create(new(()).max_attempts(3).retry(policy)).await.unwrap().id;
        let mut seen = Vec::new();
        let done = loop {
            let execution = manager.get(&id).await.unwrap();
            if let Some(error) = execution.error.clone().filter(|error| seen.last() != Some(error)) {
                seen.push(error);
            }
            if execution.status.is_terminal() {
                break execution;
            }
            sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((done.status, done.attempts, done.result), (S::Completed, 3, Some(2.into())));
        assert_eq!(seen[0].message, "invalid digit found in string");
        assert_eq!((seen[1].code.as_deref(), &*seen[1].message), (Some("PANIC"), "the handler panicked: of row 1"));
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_dead_workers_executions_run_again_within_the_lease_and_a_second() {
    run(async {
        let manager = manager();
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        let runs = Arc::new(AtomicU32::new(0));
        let handle = {
            let runs = runs.clone();
            move |attempt: Attempt, (): ()| {
                let first = runs.fetch_add(1, Ordering::Relaxed) == 0;
                async move {
                    if first {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Failure>(attempt.lease().epoch)
                }
            }
        };
        let dead = Worker::new(manager.clone()).handler("work", handle.clone()).start();
        sleep(SECOND).await;
        assert_eq!(manager.get(&id).await.unwrap().status, S::Running);
        let started = Instant::now();
        drop(dead);
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let done = ended(&manager, &id).await;
        assert_eq!((done.attempts, done.result), (2, Some(2.into())));
        assert!(started.elapsed() <= LEASE + SECOND, "{:?}", started.elapsed());
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn leases_are_kept_for_as_long_as_it_takes() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| async {
            sleep(LEASE * 10).await;
            Ok::<_, Failure>("at last")
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(())).await.unwrap().id;
        let done = ended(&manager, &id).await;
        assert_eq!((done.status, done.attempts), (S::Completed, 1));
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn the_most_urgent_runs_first_and_the_delayed_later() {
    run(async {
        let manager = manager();
        let order = Arc::new(Mutex::new(Vec::new()));
        let handle = {
            let order = order.clone();
            move |_: Attempt, number: u32| {
                order.lock().unwrap().push(number);
                async { Ok::<_, Failure>(()) }
            }
        };
        let mut ids = Vec::new();
        for (number, priority, delay) in [(2, 0, 0), (1, 5, 0), (4, 9, 60), (3, -1, 0)] {
            let new = new(number).priority(priority).delay(SECOND * delay);
            ids.push(manager.create(new).await.unwrap().id);
        }
        let worker = Worker::new(manager.clone()).concurrency(1).handler("work", handle).start();
        for id in ids {
            ended(&manager, &id).await;
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4]);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn cancelling_reaches_a_handler_that_listens_and_one_that_does_not() {
    run(async {
        let manager = manager();
        let listens = |attempt: Attempt, (): ()| async move {
            attempt.cancelled().await;
            assert!(attempt.is_cancelled());
            Err::<(), _>(Failure::new("stopped").retryable(true))
        };
        let gauge = Gauge::default();
        let deaf = {
            let gauge = gauge.clone();
            move |_: Attempt, (): ()| forever(gauge.enter())
        };
        let worker = Worker::new(manager.clone()).handler("listens", listens).handler("deaf", deaf).start();
        for type_ in ["listens", "deaf"] {
            let id = manager.create(NewExecution::new(type_).max_attempts(3)).await.unwrap().id;
            sleep(SECOND).await;
            let started = Instant::now();
            assert_eq!(manager.cancel(&id, Some("too dear")).await.unwrap().status, S::Running);
            let cancelled = ended(&manager, &id).await;
            assert_eq!((cancelled.status, cancelled.attempts), (S::Cancelled, 1), "{type_}");
            assert_eq!(cancelled.metadata["cancellationReason"], "too dear");
            // One that does not listen has ten seconds to return.
            let grace = if type_ == "deaf" { SECOND * 11 } else { Duration::ZERO };
            assert!(started.elapsed() <= SECOND * 3 + grace, "{type_}: {:?}", started.elapsed());
        }
        assert_eq!(gauge.now.load(Ordering::Relaxed), 0, "what does not listen is dropped");
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn what_a_handler_leaves_behind_is_let_go_when_the_attempt_is_over() {
    run(async {
        let manager = manager();
        let (helpers, mut left) = tokio::sync::mpsc::unbounded_channel();
        let handle = move |attempt: Attempt, (): ()| {
            let helper = tokio::spawn(async move { attempt.cancelled().await });
            helpers.send(helper).unwrap();
            std::future::ready(Ok::<_, Failure>(()))
        };
        let mut is_let_go = async || {
            let helper = left.recv().await.unwrap();
            tokio::time::timeout(SECOND, helper).await.expect("nobody waits in vain").unwrap();
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(())).await.unwrap().id;
        worker.run_by_id(&id, LEASE).await.unwrap();
        is_let_go().await;

        let running = worker.start();
        manager.create(new(())).await.unwrap();
        is_let_go().await;
        running.shutdown(SECOND).await;
    });
}

#[test]
fn attempts_that_take_too_long_are_dropped_and_timed_out() {
    run(async {
        let manager = manager();
        let gauge = Gauge::default();
        let handle = {
            let gauge = gauge.clone();
            move |_: Attempt, (): ()| {
                let counted = gauge.enter();
                async move {
                    sleep(LEASE).await;
                    drop(counted);
                    Ok::<_, Failure>(())
                }
            }
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(()).timeout(SECOND * 5)).await.unwrap().id;
        let timed_out = ended(&manager, &id).await;
        assert_eq!(timed_out.status, S::TimedOut);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(gauge.now.load(Ordering::Relaxed), 0);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_handler_that_panics_when_it_is_dropped_ends_nothing_else() {
    struct Brittle;
    impl Drop for Brittle {
        fn drop(&mut self) {
            panic!("handle with care");
        }
    }
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| async {
            let _brittle = Brittle;
            std::future::pending::<Result<(), Failure>>().await
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let worker = worker.handler("other", |_: Attempt, (): ()| async { Ok::<_, Failure>(()) }).start();
        let id = manager.create(new(()).timeout(SECOND).max_attempts(1)).await.unwrap().id;
        let failure = ended(&manager, &id).await.error.unwrap();
        assert_eq!(
            (failure.code.as_deref(), failure.message.contains("handle with care")),
            (Some(Failure::PANIC), true),
            "{failure:?}"
        );
        let id = manager.create(NewExecution::new("other")).await.unwrap().id;
        assert_eq!(ended(&manager, &id).await.status, S::Completed);
        assert_eq!(worker.shutdown(SECOND).await, Left { given_back: 0 });
    });
}

#[test]
fn shutdown_finishes_what_it_can_and_gives_the_rest_back() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, seconds: u64| async move {
            sleep(SECOND * u32::try_from(seconds).unwrap()).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).concurrency(2).handler("work", handle).start();
        let short = manager.create(new(5)).await.unwrap().id;
        let long = manager.create(new(500)).await.unwrap().id;
        let waiting = manager.create(new(1)).await.unwrap().id;
        sleep(SECOND).await;
        let started = Instant::now();
        assert_eq!(worker.shutdown(SECOND * 10).await, Left { given_back: 1 });
        assert!(started.elapsed() <= SECOND * 12);
        let status = async |id| manager.get(id).await.unwrap();
        assert_eq!(status(&short).await.status, S::Completed);
        let given_back = status(&long).await;
        assert_eq!((given_back.status, given_back.attempts, &given_back.lease), (S::Retrying, 0, &None));
        assert_eq!(status(&waiting).await.status, S::Pending, "nothing new was begun");
        // Another worker has it at once.
        let claimed = manager.claim_by_id(&long, "another", LEASE).await.unwrap().unwrap();
        assert_eq!((claimed.attempts, claimed.epoch), (1, 2));
    });
}

#[test]
fn shutdown_does_not_wait_for_the_end_of_a_backlog() {
    run(async {
        const JOBS: usize = 5000;
        let manager = manager();
        manager.create_all((0..JOBS).map(|_| new(())).collect::<Vec<_>>()).await.unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let begun = Arc::new(tokio::sync::Notify::new());
        let handle = {
            let (done, begun) = (done.clone(), begun.clone());
            move |_: Attempt, (): ()| {
                done.fetch_add(1, Ordering::Relaxed);
                begun.notify_one();
                async { Ok::<_, Failure>(()) }
            }
        };
        // There is always room for more than one claim brings.
        let worker = Worker::new(manager.clone()).concurrency(1000).handler("work", handle).start();
        begun.notified().await;
        assert_eq!(worker.shutdown(SECOND).await, Left { given_back: 0 });
        assert!(done.load(Ordering::Relaxed) < JOBS, "it went on to the end");
    });
}

#[test]
fn a_function_that_is_called_with_an_id_runs_that_one() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, number: u32| async move { Ok::<_, Failure>(number + 1) };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let ids = [manager.create(new(1)).await.unwrap().id, manager.create(new(2)).await.unwrap().id];
        let done = worker.run_by_id(&ids[1], LEASE).await.unwrap().unwrap();
        assert_eq!((done.status, done.result), (S::Completed, Some(3.into())));
        assert_eq!(worker.run_by_id(&ids[1], LEASE).await.unwrap(), None, "delivered twice, run once");
        assert_eq!(manager.get(&ids[0]).await.unwrap().status, S::Pending);
    });
}

#[test]
fn a_backlog_is_drained_by_several_workers_and_each_runs_once() {
    run(async {
        let manager = manager();
        let runs = Arc::new(Mutex::new(std::collections::BTreeMap::<u32, u32>::new()));
        let handle = {
            let runs = runs.clone();
            move |_: Attempt, number: u32| {
                *runs.lock().unwrap().entry(number).or_default() += 1;
                async { Ok::<_, Failure>(()) }
            }
        };
        let created = manager.create_all((0..2000_u32).map(new).collect::<Vec<_>>()).await.unwrap();
        let start = || Worker::new(manager.clone()).concurrency(50).handler("work", handle.clone()).start();
        let workers = [start(), start(), start()];
        for created in created {
            assert_eq!(ended(&manager, &created.unwrap().id).await.status, S::Completed);
        }
        for worker in workers {
            assert_eq!(worker.shutdown(SECOND).await, Left::default());
        }
        let runs = runs.lock().unwrap();
        assert!(runs.len() == 2000 && runs.values().all(|times| *times == 1));
    });
}

#[test]
fn attempts_that_take_too_long_are_tried_again_while_any_is_left() {
    run(async {
        let manager = manager();
        let handle = |attempt: Attempt, (): ()| async move {
            if attempt.execution().attempts < 3 {
                std::future::pending::<()>().await;
            }
            Ok::<_, Failure>("at last")
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(()).timeout(SECOND * 5).max_attempts(3)).await.unwrap().id;
        let done = ended(&manager, &id).await;
        assert_eq!((done.status, done.attempts), (S::Completed, 3));
        let ends: Vec<_> = done.history.iter().map(|attempt| attempt.end.unwrap()).collect();
        assert_eq!(ends, [AttemptEnd::TimedOut, AttemptEnd::TimedOut, AttemptEnd::Completed]);
        let last = manager.create(new(()).timeout(SECOND * 5).max_attempts(2)).await.unwrap().id;
        assert_eq!(ended(&manager, &last).await.status, S::TimedOut);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_schedule_creates_each_time_once_however_many_workers_have_it() {
    run(async {
        let started = Instant::now();
        let manager = ExecutionManager::new(MemoryStore::with_clock(TokioClock(started)));
        let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        let schedule = |within| {
            // By the clock of the store, which is not the machine's.
            let schedule = Schedule::new("minutely", "* * * * *", |_| NewExecution::new("work")).unwrap();
            schedule.catch_up(within)
        };
        let start = |within| Worker::new(manager.clone()).handler("work", handle).schedule(schedule(within)).start();
        let workers = [start(SECOND * 30), start(SECOND * 30), start(SECOND * 30)];
        sleep(SECOND * 601).await;
        for worker in workers {
            worker.shutdown(SECOND).await;
        }
        let count = async || manager.list(ListOptions::new()).await.unwrap().len();
        let after_ten_minutes = count().await;
        assert!((10..=11).contains(&after_ten_minutes), "{after_ten_minutes}");
        // Nobody is there for five minutes; the next worker makes up for what it is told to.
        sleep(SECOND * 300).await;
        let worker = start(SECOND * 180);
        sleep(SECOND).await;
        assert_eq!(count().await, after_ten_minutes + 3);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_store_that_says_so_wakes_a_worker_at_once() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        let worker = Worker::new(manager.clone()).poll(SECOND * 3600).handler("work", handle).start();
        sleep(SECOND).await;
        for _ in 0..3 {
            let started = Instant::now();
            let id = manager.create(new(())).await.unwrap().id;
            assert_eq!(ended(&manager, &id).await.status, S::Completed);
            assert!(started.elapsed() <= SECOND / 10, "{:?}", started.elapsed());
        }
        worker.shutdown(SECOND).await;
    });
}
