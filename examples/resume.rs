//! How does a batch go on where it was when its process died?
//!
//! Imports the orders in `data/orders.csv` as an execution in an SQLite file. The first worker dies in the midst, and a
//! second one takes over. `cargo run -p tracer-examples --example resume`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracer::execution::{ExecutionManager, Failure, NewExecution, Progress};
use tracer_sqlite::SqliteStore;
use tracer_workers::{Attempt, Worker};

/// How many rows are done between two checkpoints: those are done again by the next attempt, and no others.
const ROWS: usize = 10;

/// Imports the rows that no attempt has imported yet; the first attempt never gets further than `dies_at`.
async fn import(attempt: Attempt, text: String, dies_at: usize, imported: Arc<AtomicUsize>) -> Result<usize, Failure> {
    let rows: Vec<csv::StringRecord> = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.as_bytes())
        .into_records()
        .collect::<Result<_, _>>()?;
    let done: usize = attempt.kept("rows").unwrap_or(0);
    println!("attempt {} begins behind row {done}", attempt.execution().attempts);
    for (number, _row) in rows.iter().enumerate().skip(done) {
        if number == dies_at && attempt.execution().attempts == 1 {
            std::future::pending::<()>().await; // From here on, this worker is as good as dead.
        }
        imported.fetch_add(1, Ordering::Relaxed);
        if (number + 1) % ROWS == 0 {
            attempt.keep("rows", number + 1).await?;
            attempt.progress(Progress::new((number + 1) as u64, rows.len() as u64)).await?;
        }
    }
    Ok(rows.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("executions.db");
    let imported = Arc::new(AtomicUsize::new(0));
    let worker = || -> Result<_, Box<dyn Error>> {
        let manager = ExecutionManager::new(SqliteStore::open(&path)?);
        let imported = imported.clone();
        let handle = move |attempt, text| import(attempt, text, 25, imported.clone());
        let worker = Worker::new(manager.clone()).lease(Duration::from_millis(300)).poll(Duration::from_millis(20));
        Ok((manager, worker.handler("import", handle)))
    };

    let (manager, first) = worker()?;
    let text = include_str!("data/orders.csv");
    let id = manager.create(NewExecution::new("import").payload(text).max_attempts(3)).await?.id;
    let first = first.start();
    while imported.load(Ordering::Relaxed) < 25 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(first);
    println!("the first worker has died; {} rows were imported", imported.load(Ordering::Relaxed));

    let (manager, second) = worker()?;
    let second = second.start();
    let done = loop {
        let execution = manager.get(&id).await?;
        if execution.status.is_terminal() {
            break execution;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    second.shutdown(Duration::from_secs(1)).await;
    let rows = done.result.and_then(|rows| rows.as_u64()).unwrap_or(0);
    println!("{} after {} attempts: {rows} rows", done.status, done.attempts);
    println!("{} rows were imported twice", imported.load(Ordering::Relaxed) as u64 - rows);
    Ok(())
}

// attempt 1 begins behind row 0
// the first worker has died; 25 rows were imported
// attempt 2 begins behind row 20
// completed after 2 attempts: 200 rows
// 5 rows were imported twice
