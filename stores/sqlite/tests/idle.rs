//! What it costs to have nothing to do.

use std::time::Duration;

use rusqlite::Connection;
use tracer::ManualClock;
use tracer::execution::{Claim, ExecutionManager, NewExecution};
use tracer_sqlite::Options;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
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
