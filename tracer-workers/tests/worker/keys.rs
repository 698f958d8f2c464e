//! How many run at once of a key, and what becomes of those that have to wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracer::execution::{
    Execution, ExecutionId, ExecutionManager, ExecutionStatus as S, ExecutionStore, Failure, MemoryStore, NewExecution,
};
use tracer_workers::{Attempt, Worker};

use crate::trouble::cut_off;
use crate::{Counted, Gauge, SECOND, ended, forever, manager, new, run};

/// The key is the payload.
#[expect(clippy::unnecessary_wraps, reason = "it is as a key has to be")]
fn by_payload(execution: &Execution) -> Option<String> {
    Some(execution.payload.to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "it is as a key has to be")]
fn one_key(_: &Execution) -> Option<String> {
    Some("the only one".to_owned())
}

async fn create<S: ExecutionStore>(
    manager: &ExecutionManager<S>,
    new: impl IntoIterator<Item = NewExecution>,
) -> Vec<ExecutionId> {
    let created = manager.create_all(new.into_iter().collect::<Vec<_>>()).await.unwrap();
    created.into_iter().map(|created| created.unwrap().id).collect()
}

/// Works one after the other off, each of which takes so long.
fn worker_of_one_key(
    manager: &ExecutionManager<MemoryStore>,
    takes: Duration,
    begun: &Arc<Mutex<Vec<usize>>>,
) -> Worker<MemoryStore> {
    let begun = begun.clone();
    let handle = move |attempt: Attempt, number: usize| {
        begun.lock().unwrap().push(number);
        async move {
            sleep(takes).await;
            Ok::<_, Failure>(attempt.execution().attempts)
        }
    };
    Worker::new(manager.clone()).handler("work", handle).limit_per_key("work", 1, one_key)
}

#[test]
fn no_more_with_one_key_run_at_once_than_may() {
    run(async {
        let manager = manager();
        let gauges: Vec<Gauge> = (0..4).map(|_| Gauge::default()).collect();
        let handle = {
            let gauges = gauges.clone();
            move |_: Attempt, customer: usize| {
                let counted = gauges[customer].enter();
                async move {
                    sleep(SECOND).await;
                    drop(counted);
                    Ok::<_, Failure>(())
                }
            }
        };
        // Customer 3 has no key.
        let key = |execution: &Execution| Some(execution.payload.to_string()).filter(|key| key != "3");
        let worker = Worker::new(manager.clone()).handler("work", handle).limit_per_key("work", 2, key).start();
        let mut ids = Vec::new();
        for number in 0..40 {
            ids.push(manager.create(new(number % 4)).await.unwrap().id);
        }
        for id in ids {
            let done = ended(&manager, &id).await;
            assert_eq!((done.status, done.attempts), (S::Completed, 1));
            assert_eq!(done.history.len(), 1, "{:?}", done.history);
        }
        assert_eq!(gauges[..3].iter().map(Gauge::most).collect::<Vec<_>>(), [2, 2, 2]);
        assert!(gauges[3].most() > 2);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_key_that_panics_ends_that_attempt_and_nothing_else() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, _: serde_json::Value| async { Ok::<_, Failure>(()) };
        let key = |execution: &Execution| Some(execution.payload.as_str().expect("a name").to_owned());
        let worker = Worker::new(manager.clone()).handler("work", handle).limit_per_key("work", 2, key).start();
        let nameless = manager.create(new(7)).await.unwrap().id;
        let failed = ended(&manager, &nameless).await;
        let error = failed.error.unwrap();
        assert_eq!((failed.status, error.code.as_deref()), (S::Failed, Some(Failure::PANIC)));
        assert!(error.message.contains("a name"), "{}", error.message);
        let named = manager.create(new("Ada")).await.unwrap().id;
        assert_eq!(ended(&manager, &named).await.status, S::Completed);
        worker.shutdown(SECOND).await;
    });
}

/// However many they are and however long each takes, those that wait for each other are taken about in turn, the place is
/// hardly ever free, and the store is not asked for the same ones all the time.
#[test]
fn those_of_one_key_begin_about_in_order() {
    for (count, ms) in [(10, 10), (300, 20), (2000, 1), (30, 3000)] {
        run(async {
            let (manager, takes, begun) = (manager(), Duration::from_millis(ms), Arc::default());
            let ids = create(&manager, (0..count).map(new)).await;
            let (worker, started) = (worker_of_one_key(&manager, takes, &begun).start(), Instant::now());
            let mut epochs = 0;
            for id in &ids {
                let done = ended(&manager, id).await;
                assert_eq!((done.status, done.attempts, done.result), (S::Completed, 1, Some(1.into())));
                assert_eq!(done.history.len(), 1);
                epochs += done.epoch;
            }
            let (count, takes) = (u32::try_from(count).unwrap(), takes * u32::try_from(count).unwrap());
            let took = started.elapsed();
            assert!(took <= takes * 3 / 2 + SECOND / 10, "{took:?} instead of {takes:?}");
            assert!(epochs <= u64::from(count) * 8, "{epochs} reservations for {count}");
            let begun = begun.lock().unwrap();
            let inversions = begun.windows(2).filter(|pair| pair[0] > pair[1]).count();
            assert!(inversions * 5 <= begun.len(), "{inversions}: {begun:?}");
            if count <= 16 {
                assert_eq!(inversions, 0, "as many as the worker keeps");
            }
            drop(worker);
        });
    }
}

#[test]
fn no_more_wait_than_may_run() {
    run(async {
        let (manager, gauge) = (manager(), Gauge::default());
        let handle = move |_: Attempt, (): ()| forever(gauge.enter());
        let worker = Worker::new(manager.clone()).concurrency(5).handler("work", handle);
        let worker = worker.limit_per_key("work", 1, one_key).start();
        let ids = create(&manager, (0..50).map(|_| new(()))).await;
        sleep(10 * SECOND).await;
        let mut running = Vec::new();
        for id in &ids {
            let execution = manager.get(id).await.unwrap();
            if execution.status == S::Running {
                running.push((execution.reserved, execution.id));
            }
        }
        running.sort_unstable();
        let first: Vec<_> = ids[..6].iter().map(|id| (*id != ids[0], *id)).collect();
        assert_eq!(running.len(), 6, "one runs, and five wait: {first:?}");
        drop(worker);
    });
}

/// Whoever is told while it begins is told what the attempt is to hear.
#[test]
fn who_begins_hears_that_the_worker_stops() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = |attempt: Attempt, (): ()| async move {
            attempt.cancelled().await;
            Ok::<_, Failure>("stopped")
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).limit_per_key("work", 1, one_key);
        *cut.beginning_takes.lock().unwrap() = 2 * SECOND;
        let (id, worker) = (manager.create(new(())).await.unwrap().id, worker.start());
        sleep(SECOND).await;
        let (began, left) = (Instant::now(), worker.shutdown(100 * SECOND).await);
        assert_eq!((manager.get(&id).await.unwrap().result, left.given_back), (Some("stopped".into()), 0));
        assert!(began.elapsed() <= 2 * SECOND, "{:?}", began.elapsed());
    });
}

#[test]
fn who_waits_takes_no_place_and_begins_in_none_that_is_taken() {
    run(async {
        let (manager, gauge) = (manager(), Gauge::default());
        let handle = |gauge: Gauge| {
            move |_: Attempt, _: usize| {
                let counted: Counted = gauge.enter();
                async move {
                    sleep(SECOND).await;
                    drop(counted);
                    Ok::<_, Failure>(())
                }
            }
        };
        let worker = Worker::new(manager.clone()).concurrency(4);
        let worker = worker.handler("work", handle(gauge.clone())).limit_per_key("work", 1, by_payload);
        let worker = worker.handler("other", handle(gauge.clone())).start();
        let ids = create(&manager, (0..20).map(|number| new(number % 2))).await;
        sleep(SECOND / 2).await;
        // One of each key runs, and others wait for them.
        assert_eq!(gauge.now.load(Ordering::Relaxed), 2);
        let others = create(&manager, (0..40).map(|_| NewExecution::new("other").payload(0))).await;
        sleep(SECOND / 4 + SECOND / 8).await;
        assert_eq!(gauge.now.load(Ordering::Relaxed), 4);
        for id in ids.iter().chain(&others) {
            assert_eq!(ended(&manager, id).await.status, S::Completed);
        }
        assert_eq!(gauge.most(), 4);
        worker.shutdown(SECOND).await;
    });
}
