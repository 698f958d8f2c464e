//! What ended long ago goes by itself, if it is to.

use std::sync::atomic::{AtomicU32, Ordering};

use tracer::execution::{Retention, Written};

use super::trouble::cut_off;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

async fn is_there<M: ExecutionStore>(manager: &ExecutionManager<M>, id: &ExecutionId) -> bool {
    manager.store().find_by_id(id).await.unwrap().is_some()
}

/// One that has completed, one that has failed, and one that waits.
async fn three<M: ExecutionStore>(manager: &ExecutionManager<M>) -> [ExecutionId; 3] {
    let other = || NewExecution::new("other");
    let created = manager.create_all([other(), other(), other()]).await.unwrap();
    let ids = [0, 1, 2].map(|number: usize| created[number].as_ref().unwrap().id);
    manager.start(&ids[0]).await.unwrap();
    manager.complete(&ids[0], ()).await.unwrap();
    manager.start(&ids[1]).await.unwrap();
    manager.fail(&ids[1], Failure::new("no")).await.unwrap();
    ids
}

#[test]
fn what_ended_long_ago_is_deleted_by_a_worker_that_is_told_to() {
    run(async {
        let manager = manager();
        let [done, dead, waiting] = three(&manager).await;
        let keeps = Worker::new(manager.clone()).start();
        sleep(MINUTE * 120).await;
        assert!(is_there(&manager, &done).await);
        keeps.shutdown(SECOND).await;

        let worker = Worker::new(manager.clone()).retain(MINUTE * 60).start();
        sleep(MINUTE).await;
        assert!(!is_there(&manager, &done).await, "within a minute");
        let [young, ..] = three(&manager).await;
        sleep(MINUTE * 59).await;
        assert!(is_there(&manager, &young).await, "not yet");
        sleep(MINUTE * 12).await;
        assert!(!is_there(&manager, &young).await, "it goes on");
        assert!(is_there(&manager, &dead).await && is_there(&manager, &waiting).await);
        worker.shutdown(SECOND).await;

        let retention = Retention::new(MINUTE).dead_letters(MINUTE * 60);
        let worker = Worker::new(manager.clone()).retain(retention).start();
        sleep(MINUTE).await;
        assert!(!is_there(&manager, &dead).await && is_there(&manager, &waiting).await);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_worker_that_cannot_delete_says_so_and_tries_again() {
    run(async {
        let (manager, cut) = cut_off();
        let [done, ..] = three(&manager).await;
        let told = Arc::new(AtomicU32::new(0));
        let count = told.clone();
        let is_delete = |error: &tracer::execution::ExecutionError| error.to_string().contains("delete what has ended");
        cut.set(Some(Written::Nothing));
        let worker = Worker::new(manager.clone()).retain(Duration::ZERO);
        let worker = worker.on_error(move |error| {
            count.fetch_add(u32::from(is_delete(error)), Ordering::Relaxed);
        });
        let worker = worker.start();
        sleep(MINUTE * 12).await;
        assert!((2..=4).contains(&told.load(Ordering::Relaxed)), "{told:?}");
        cut.set(None);
        sleep(MINUTE * 10).await;
        assert!(!is_there(&manager, &done).await);
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_worker_says_how_many_it_could_not_read() {
    run(async {
        let (manager, store) = cut_off();
        let told = Arc::new(Mutex::new(Vec::new()));
        for is_one_corrupt in [false, true] {
            let [done, ..] = three(&manager).await;
            if is_one_corrupt {
                store.set_corrupt(done);
            }
            let worker = Worker::new(manager.clone()).retain(Duration::ZERO).on_error({
                let told = told.clone();
                move |error| told.lock().unwrap().push((error.code(), text(error)))
            });
            let worker = worker.start();
            sleep(MINUTE).await;
            assert!(!is_there(&manager, &done).await, "others are deleted all the same");
            let of_it = "store memory failed to read what has ended [CORRUPT]: 1 that ended long ago, as it seems, are no \
                         executions, and were left alone";
            let expected = is_one_corrupt.then_some(("CORRUPT", of_it.to_owned()));
            assert_eq!(*told.lock().unwrap(), Vec::from_iter(expected));
            worker.shutdown(SECOND).await;
        }
    });
}

fn text(error: &tracer::execution::ExecutionError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}
