//! No-op executions, created, claimed and completed in batches, every record kept: CPU time and wall time a job.
//!
//! `cargo bench -p tracer-sqlite`; needs Linux, which tells a process what it has used. The rows that are there already
//! have ended: claims must not notice them.

use std::time::{Duration, Instant};

use tracer::execution::{Claim, Command, ExecutionManager, NewExecution, Write};
use tracer_sqlite::SqliteStore;

const BATCH: usize = 100;
const JOBS: usize = 20_000;
const JOBS_F: f64 = 20_000.0;

fn main() {
    // Cargo runs benches as tests, too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let manager = ExecutionManager::new(SqliteStore::open(directory.path().join("drain.db")).expect("it opens"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("there are threads");
    println!("{:>9}  {:>10}  {:>10}", "rows", "CPU µs/job", "jobs/s");
    let mut rows = 0;
    for target in [0, 100_000, 1_000_000] {
        while rows < target {
            runtime.block_on(drain(&manager, JOBS));
            rows += JOBS;
        }
        let (cpu, wall) = (cpu(), now());
        runtime.block_on(drain(&manager, JOBS));
        let (cpu, wall) = (self::cpu().saturating_sub(cpu), wall.elapsed());
        println!("{rows:>9}  {:>10.1}  {:>10.0}", cpu.as_secs_f64() * 1e6 / JOBS_F, JOBS_F / wall.as_secs_f64());
        rows += JOBS;
    }
}

async fn drain(manager: &ExecutionManager<SqliteStore>, jobs: usize) {
    for batch in 0..jobs / BATCH {
        let new = (0..BATCH).map(|number| NewExecution::new("no-op").payload(batch * BATCH + number));
        manager.create_all(new.collect::<Vec<_>>()).await.expect("they are created");
    }
    let limit = u32::try_from(BATCH).expect("it is small");
    let worker = "bench".to_owned();
    let claim = Claim { types: Vec::new(), only: None, limit, worker, lease: Duration::from_secs(30) };
    loop {
        let claimed = manager.claim(claim.clone()).await.expect("the store answers");
        if claimed.is_empty() {
            return;
        }
        let complete = |token| Write::under(token, Command::Complete { result: serde_json::Value::Null });
        let writes = claimed.iter().map(|execution| complete(execution.token())).collect();
        for settled in manager.settle(writes).await.expect("the store answers") {
            settled.expect("nobody else has it");
        }
    }
}

/// What the process has used, all threads together, in steps of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let behind_name = stat.rsplit_once(')').expect("it has a name").1;
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}
