//! How does a worker run as a service, and end when it is told to?
//!
//! As systemd or a container has it: a process that works until it gets SIGTERM (or Ctrl-C), then claims no more, ends what
//! it has begun, and gives back what takes too long. `cargo run -p tracer-examples --example service -- executions.db` is
//! that process. Without a file this program starts it on one of its own, creates work, and sends the SIGTERM itself.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracer::execution::{ExecutionManager, ExecutionStatus, Failure, NewExecution};
use tracer_sqlite::SqliteStore;
use tracer_workers::{Attempt, Worker};

/// Less than those who start it wait before they kill it: 90 s with systemd, 30 s with Kubernetes.
const WITHIN: Duration = Duration::from_secs(3);

async fn wait(_: Attempt, ms: u64) -> Result<(), Failure> {
    sleep(Duration::from_millis(ms)).await;
    Ok(())
}

async fn serve(file: &Path) -> Result<(), Box<dyn Error>> {
    // Before there is anything to lose.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let manager = ExecutionManager::new(SqliteStore::open(file)?);
    let worker = Worker::new(manager).handler("wait", wait).on_error(|error| eprintln!("{error}")).start();
    tokio::select! {
        _ = terminate.recv() => println!("told to end"),
        _ = interrupt.recv() => println!("interrupted"),
    }
    let left = worker.shutdown(WITHIN).await;
    println!("ended; given back: {}", left.given_back);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(file) = std::env::args_os().nth(1) {
        return serve(file.as_ref()).await;
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&file)?);
    let mut service = Command::new(std::env::current_exe()?).arg(&file).spawn()?;
    let mut ids = Vec::new();
    for (ms, what) in [(0, "done before"), (500, "begun, and done soon"), (3_600_000, "begun, and too long")] {
        ids.push((manager.create(NewExecution::new("wait").payload(ms)).await?.id, what));
    }
    for (id, _) in &ids {
        while manager.get(id).await?.status == ExecutionStatus::Pending {
            sleep(Duration::from_millis(10)).await;
        }
    }
    terminate(&service)?;
    service.wait()?;
    for (id, what) in ids {
        let execution = manager.get(&id).await?;
        println!("{what}: {}, attempts: {}", execution.status, execution.attempts);
    }
    Ok(())
}

fn terminate(service: &Child) -> std::io::Result<()> {
    Command::new("sh").arg("-c").arg(format!("kill -TERM {}", service.id())).status().map(drop)
}

// told to end
// ended; given back: 1
// done before: completed, attempts: 1
// begun, and done soon: completed, attempts: 1
// begun, and too long: retrying, attempts: 0
