//! What it costs to have nothing to do.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use rusqlite::Connection;
use tracer::ManualClock;
use tracer::execution::{Claim, Command, ExecutionManager, ExecutionStore, Failure, NewExecution};
use tracer_sqlite::{Options, SqliteStore};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Whether work wakes somebody who waits from before it on.
async fn wakes<T>(store: &SqliteStore, work: impl Future<Output = T>) -> (bool, T) {
    let mut woken = pin!(store.wake());
    let mut context = Context::from_waker(Waker::noop());
    let done = work.await;
    (woken.as_mut().poll(&mut context).is_ready(), done)
}

/// An idle worker asks four times a second, and sweeps once: for that no page is written, and nobody's lock waited for.
#[test]
fn who_has_nothing_to_do_writes_nothing_and_waits_for_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let clock = ManualClock::new(Duration::from_secs(1_800_000_000));
    let manager = ExecutionManager::new(Options::new().clock(clock.clone()).open(&path).unwrap());
    let other = Connection::open(&path).unwrap();
    let written = || other.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).unwrap();
    let (worker, lease) = ("worker".to_owned(), Duration::from_secs(30));
    let any = Claim { types: Vec::new(), only: None, limit: 9, worker, lease };
    run(async {
        let runs = manager.create(NewExecution::new("work")).await.unwrap().id;
        assert_eq!(manager.claim(any.clone()).await.unwrap().len(), 1);
        let new = || NewExecution::new("work").delay(Duration::from_secs(20)).idempotency_key("key");
        let waits = manager.create(new()).await.unwrap();
        let before = written();
        clock.advance(Duration::from_secs(10));
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        for types in [Vec::new(), vec!["work".to_owned(), "other".to_owned()]] {
            assert!(manager.claim(Claim { types, ..any.clone() }).await.unwrap().is_empty());
        }
        assert!(manager.claim(Claim { only: Some(runs), ..any.clone() }).await.unwrap().is_empty());
        assert!(manager.claim(Claim { only: Some(waits.id), ..any.clone() }).await.unwrap().is_empty());
        let swept = manager.tick().await.unwrap();
        assert_eq!((swept.total(), swept.next_due), (0, Some(Duration::from_secs(20))));
        other.execute_batch("ROLLBACK").unwrap();
        // Nor does what is refused, or was there before.
        assert!(manager.complete(&waits.id, ()).await.is_err());
        assert_eq!(manager.create(new()).await.unwrap(), waits);
        assert_eq!(written(), before);
        clock.advance(Duration::from_secs(20));
        assert_eq!(manager.claim(any).await.unwrap()[0].id, waits.id);
        assert_eq!(manager.tick().await.unwrap().total(), 1);
    });
}

#[test]
fn what_comes_to_wait_wakes_whoever_waits_in_this_process() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Duration::from_secs(1_800_000_000));
    let store = Options::new().clock(clock.clone()).open(directory.path().join("executions.db")).unwrap();
    let manager = ExecutionManager::new(store.clone());
    let (worker, lease) = ("worker".to_owned(), Duration::from_secs(30));
    let any = Claim { types: Vec::new(), only: None, limit: 9, worker, lease };
    run(async {
        let new = || NewExecution::new("work").max_attempts(3).idempotency_key("key");
        let (is_woken, created) = wakes(&store, manager.create(new())).await;
        let id = created.unwrap().id;
        assert!(is_woken);
        assert!(!wakes(&store, manager.create(new())).await.0, "it was there before");
        let claim = async || manager.claim(any.clone()).await.unwrap().remove(0).token();
        let (is_woken, token) = wakes(&store, claim()).await;
        assert!(!is_woken);
        assert!(!wakes(&store, manager.under(&token).checkpoint(&id, "row", 7)).await.0);
        assert!(wakes(&store, manager.under(&token).release(&id, Duration::ZERO)).await.0);
        let token = claim().await;
        let failed = Command::Fail { failure: Failure::new("no").retryable(true), random: 0 };
        assert!(wakes(&store, manager.under(&token).settle(&id, failed)).await.0);
        // The second is lost, and another follows; the third was the last.
        for is_followed in [true, false] {
            clock.advance(Duration::from_secs(3600));
            claim().await;
            clock.advance(lease);
            assert_eq!(wakes(&store, manager.tick()).await.0, is_followed);
        }
        assert!(wakes(&store, manager.redrive(&id)).await.0);
        let token = claim().await;
        assert!(!wakes(&store, manager.under(&token).complete(&id, ())).await.0);
    });
}
