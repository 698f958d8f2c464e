//! How do I give work a life of its own: attempts, progress, checkpoints, an end?
//!
//! `cargo run -p tracer-examples --example executions`

use serde_json::json;
use tracer::execution::{
    Execution, ExecutionError, ExecutionManager, Failure, ListOptions, MemoryStore, NewExecution, Progress,
};

fn show(what: &str, execution: &Execution) {
    println!("{what}: {}, attempt {} of {}", execution.status, execution.attempts, execution.max_attempts);
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ExecutionError> {
    let manager = ExecutionManager::new(MemoryStore::default());

    let import = || {
        NewExecution::new("import")
            .payload(json!({ "file": "orders.csv" }))
            .max_attempts(3)
            .timeout(std::time::Duration::from_mins(1))
            .idempotency_key("import-2026-11-27")
            .metadata("tenant", "acme")
    };
    let execution = manager.create(import()).await?;
    show("created", &execution);
    let again = manager.create(import()).await?;
    println!("created again: {}", if again.id == execution.id { "the same one" } else { "another one" });

    let id = &execution.id;
    show("started", &manager.start(id).await?);
    let progress = manager.update_progress(id, Progress::new(50, 100).message("half of it")).await?.progress;
    println!("progress: {} %", progress.map_or(0.0, |progress| progress.percent));
    manager.checkpoint(id, "row", 50).await?;

    let failure = Failure::new("disk full").code("ENOSPC").retryable(true);
    show("failed", &manager.fail(id, failure).await?);
    let retried = manager.start(id).await?;
    show("started", &retried);
    println!("resumes behind row {}", retried.checkpoints["row"]);
    show("completed", &manager.complete(id, json!({ "rows": 100 })).await?);

    let refused = manager.cancel(id, Some("too late")).await.expect_err("it has ended");
    println!("cancelled: {}", refused.code());

    let other = manager.create(NewExecution::new("import").parent(id)).await?;
    let cancelled = manager.cancel(&other.id, Some("no longer wanted")).await?;
    println!("cancelled: {}", cancelled.metadata["cancellationReason"]);
    for part in manager.list(ListOptions::new().parent(id)).await? {
        show("a part of the first", &part);
    }
    manager.delete(&other.id).await?;
    println!("deleted: {}", manager.get(&other.id).await.expect_err("it is gone").code());
    Ok(())
}

// created: pending, attempt 0 of 3
// created again: the same one
// started: running, attempt 1 of 3
// progress: 50 %
// failed: retrying, attempt 1 of 3
// started: running, attempt 2 of 3
// resumes behind row 50
// completed: completed, attempt 2 of 3
// cancelled: INVALID_STATE_TRANSITION
// cancelled: "no longer wanted"
// a part of the first: cancelled, attempt 0 of 1
// deleted: NOT_FOUND
