//! How many run at once, of all, of a type.

use tokio::time::{Instant, sleep};
use tracer::execution::{ExecutionStatus as S, Failure, NewExecution};
use tracer_workers::{Attempt, Worker};

use crate::{Counted, Gauge, SECOND, ended, manager, new, run};

#[test]
fn no_more_run_at_once_than_may() {
    run(async {
        let manager = manager();
        let (all, limited) = (Gauge::default(), Gauge::default());
        let handle = |gauges: Vec<Gauge>| {
            move |_: Attempt, (): ()| {
                let counted: Vec<Counted> = gauges.iter().map(Gauge::enter).collect();
                async move {
                    sleep(SECOND).await;
                    drop(counted);
                    Ok::<_, Failure>(())
                }
            }
        };
        let worker = Worker::new(manager.clone())
            .concurrency(7)
            .handler("work", handle(vec![all.clone()]))
            .handler("limited", handle(vec![all.clone(), limited.clone()]))
            .limit("limited", 2)
            .start();
        let mut ids = Vec::new();
        for number in 0..60 {
            let type_ = if number % 2 == 0 { "work" } else { "limited" };
            ids.push(manager.create(NewExecution::new(type_)).await.unwrap().id);
        }
        for id in ids {
            assert_eq!(ended(&manager, &id).await.status, S::Completed);
        }
        assert_eq!((all.most(), limited.most()), (7, 2));
        worker.shutdown(SECOND).await;
    });
}

/// Whether there is much to do of a type with a limit, or nothing at all.
#[test]
fn a_type_with_a_limit_leaves_room_for_the_others() {
    for backlog in [0, 100] {
        run(async {
            let manager = manager();
            let handle = |_: Attempt, (): ()| async {
                sleep(SECOND).await;
                Ok::<_, Failure>(())
            };
            let worker = Worker::new(manager.clone()).concurrency(2);
            let worker = worker.handler("limited", handle).limit("limited", 2).handler("scarce", handle);
            let worker = worker.limit("scarce", 1).handler("work", handle).start();
            let new = |type_: &str| NewExecution::new(type_).payload(());
            manager.create_all((0..backlog).map(|_| new("limited")).collect::<Vec<_>>()).await.unwrap();
            sleep(SECOND * 3).await;
            for type_ in ["work", "scarce"] {
                let id = manager.create(new(type_)).await.unwrap().id;
                let done = tokio::time::timeout(SECOND * 10, ended(&manager, &id)).await.expect("it has its turn");
                assert_eq!(done.status, S::Completed);
            }
            drop(worker);
        });
    }
}

#[test]
fn a_place_that_is_free_again_is_filled_at_once() {
    run(async {
        let manager = manager();
        let handle = |_: Attempt, (): ()| async {
            sleep(SECOND / 100).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).poll(SECOND * 3600).handler("work", handle).limit("work", 1);
        let ids = manager.create_all((0..20).map(|_| new(())).collect::<Vec<_>>()).await.unwrap();
        let (worker, started) = (worker.start(), Instant::now());
        for id in ids {
            ended(&manager, &id.unwrap().id).await;
        }
        assert!(started.elapsed() <= SECOND, "{:?}", started.elapsed());
        worker.shutdown(SECOND).await;
    });
}
