//! Workers that are killed in the midst of executions, and what the nodes with `checkpoint` in them have done in the end; and
//! what it costs those that wait for others with their key.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tracer::execution::{
    Execution, ExecutionId, ExecutionManager, ExecutionStatus, Failure, ListOptions, NewExecution,
};
use tracer::traced_node;
use tracer_sqlite::SqliteStore;
use tracer_workers::{Attempt, Worker};

/// How many nodes of each kind an execution has.
const NODES: u32 = 40;
/// With at least 200 µs between two, at least a minute.
const LOOKS_MAX: u32 = 300_000;
const LEASE: Duration = Duration::from_millis(300);

/// Something outside that is done: a line in a file, which a kill does not take back.
fn effect(what: &str) {
    let path = std::env::var_os("TRACER_RESUME_EFFECTS").expect("the parent says where");
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{what}\n").as_bytes()).unwrap();
}

#[traced_node(checkpoint)]
async fn fetch(number: u32) -> Result<u32, std::io::Error> {
    effect(&format!("fetch {number}"));
    Ok(number * number)
}

#[traced_node(checkpoint = at_most_once)]
async fn pay(number: u32) -> u32 {
    effect(&format!("pay {number}"));
    number
}

#[traced_node]
async fn row(number: u32) -> Result<u32, std::io::Error> {
    let fetched = fetch(number).await?;
    // Work that takes its time: who is to kill it may have to wait for a processor.
    tokio::time::sleep(Duration::from_millis(3)).await;
    Ok(fetched)
}

async fn import(_: Attempt, (): ()) -> Result<u32, Failure> {
    let mut sum = 0;
    for number in (0..NODES).step_by(2) {
        let (one, other) = tracer::join!(row(number), row(number + 1));
        sum += one? + other?;
    }
    Ok(sum)
}

async fn payout(_: Attempt, (): ()) -> Result<u32, Failure> {
    let mut sum = 0;
    for number in 0..NODES {
        sum += pay(number).await;
    }
    Ok(sum)
}

async fn book(_: Attempt, number: u32) -> Result<u32, Failure> {
    effect(&format!("book {number}"));
    tokio::time::sleep(Duration::from_millis(3)).await;
    Ok(number)
}

/// Not a test: the process that is killed.
#[test]
fn worker_that_is_killed() {
    let Some(path) = std::env::var_os("TRACER_RESUME_FILE") else { return };
    run(async {
        let manager = ExecutionManager::new(SqliteStore::open(path).unwrap());
        let worker = Worker::new(manager).lease(LEASE).poll(Duration::from_millis(5));
        let worker = worker.handler("import", import).handler("payout", payout).handler("book", book);
        let _worker = worker.limit_per_key("book", 1, |_| Some("account".to_owned())).start();
        std::future::pending::<()>().await;
    });
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(future)
}

/// A file with one execution, and what was done for it.
struct Bed {
    _directory: tempfile::TempDir,
    file: PathBuf,
    effects: PathBuf,
    manager: ExecutionManager<SqliteStore>,
    id: ExecutionId,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Bed {
    fn new(type_: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (file, effects) = (directory.path().join("executions.db"), directory.path().join("effects"));
        let manager = ExecutionManager::new(SqliteStore::open(&file).unwrap());
        let id = run(manager.create(NewExecution::new(type_).max_attempts(1000))).unwrap().id;
        Self { _directory: directory, file, effects, manager, id }
    }

    fn worker(&self) -> Killed {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker_that_is_killed", "--nocapture", "--test-threads=1"])
            .env("TRACER_RESUME_FILE", &self.file)
            .env("TRACER_RESUME_EFFECTS", &self.effects)
            .stdout(Stdio::null())
            .spawn();
        Killed(child.unwrap())
    }

    fn execution(&self) -> Execution {
        run(self.manager.get(&self.id)).unwrap()
    }

    fn done(&self) -> usize {
        lines(&self.effects).len()
    }

    /// Kills one worker after the other, each when it has had or written so much, by turns, until the execution has ended. Gives it,
    /// how often each effect was had, and how many were killed.
    fn kill_until_the_end(&self, mut so_much: impl FnMut() -> usize) -> (Execution, BTreeMap<String, u32>, u32) {
        for killed in 0.. {
            // A write is seen after it was made: then the worker is somewhere in what follows.
            let progress = || if killed % 2 == 0 { self.done() as u64 } else { self.execution().version };
            let goal = progress() + so_much() as u64;
            let worker = self.worker();
            let mut looks = 0;
            while progress() < goal && !self.execution().status.is_terminal() {
                assert!(looks < LOOKS_MAX, "nothing happens: {:?}", self.execution());
                looks += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            drop(worker);
            let execution = self.execution();
            if execution.status.is_terminal() {
                let mut times = BTreeMap::<String, u32>::new();
                for effect in lines(&self.effects) {
                    *times.entry(effect).or_default() += 1;
                }
                return (execution, times, killed);
            }
        }
        unreachable!()
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Small numbers that look random, the same in every run.
fn numbers() -> impl FnMut() -> usize {
    let mut state = 1_u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as usize % 9 + 1
    }
}

#[test]
fn an_execution_resumes_behind_its_last_finished_node_after_every_kill() {
    let bed = Bed::new("import");
    let (execution, times, killed) = bed.kill_until_the_end(numbers());
    let sum = (0..NODES).map(|number| number * number).sum::<u32>();
    assert_eq!((execution.status, execution.result), (ExecutionStatus::Completed, Some(sum.into())));
    assert_eq!((execution.attempts, execution.checkpoints.len()), (killed + 1, NODES as usize));
    assert!(killed >= 4, "{killed} workers were killed");
    assert_eq!(times.len(), NODES as usize, "no effect is missing: {times:?}");
    // What was under way when a worker was killed, at most two of them, was done again; nothing else was.
    let repeated: u32 = times.values().map(|times| times - 1).sum();
    assert!(repeated <= killed * 2, "{repeated} effects were repeated after {killed} kills: {times:?}");
    assert!(execution.history.iter().rev().skip(1).all(|attempt| {
        attempt.error.as_ref().and_then(|error| error.code.as_deref()) == Some(Failure::LEASE_LOST)
    }));
}

#[test]
fn what_is_to_run_at_most_once_never_runs_twice_whenever_it_is_killed() {
    let (mut completed, mut refused) = (0, 0);
    let mut effects = numbers();
    for _ in 0..6 {
        let bed = Bed::new("payout");
        let (execution, times, _) = bed.kill_until_the_end(&mut effects);
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        if execution.status == ExecutionStatus::Completed {
            completed += 1;
            assert_eq!(times.len(), NODES as usize);
        } else {
            refused += 1;
            let error = execution.error.unwrap();
            assert_eq!((execution.status, error.code.as_deref()), (ExecutionStatus::Failed, Some("AT_MOST_ONCE")));
        }
    }
    println!("{completed} completed, {refused} were killed between beginning and result");
    assert!(refused > 0, "no kill has hit what it is about");
}

#[test]
fn a_kill_costs_no_attempt_of_those_that_wait_for_their_key() {
    const BOOKINGS: u32 = 300;
    const KILLS: usize = 10;
    let bed = Bed::new("nobody's");
    // One attempt each: whatever it is lost by is for good.
    let new = (0..BOOKINGS).map(|number| NewExecution::new("book").payload(number));
    run(bed.manager.create_all(new.collect::<Vec<_>>())).unwrap();
    let of = |statuses: &[ExecutionStatus]| {
        let mut options = ListOptions::new().type_("book").limit(1000);
        options.statuses = statuses.to_vec();
        run(bed.manager.list(options)).unwrap()
    };
    let look = |is_reached: &dyn Fn() -> bool| {
        let mut looks = 0;
        while !is_reached() {
            assert!(looks < LOOKS_MAX, "nothing happens");
            looks += 1;
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    let mut so_much = numbers();
    for _ in 0..KILLS {
        let (worker, goal) = (bed.worker(), bed.done() + so_much());
        look(&|| bed.done() >= goal);
        drop(worker);
    }
    let _last = bed.worker();
    let waits = [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Retrying];
    look(&|| of(&waits).is_empty());
    let (failed, completed) = (of(&[ExecutionStatus::Failed]).len(), of(&[ExecutionStatus::Completed]).len());
    assert_eq!(failed + completed, BOOKINGS as usize);
    // One may have run, or have been about to, when its worker was killed.
    assert!(failed <= KILLS, "{failed} have lost their attempt by {KILLS} kills");
    let done = lines(&bed.effects);
    assert!(done.len() <= BOOKINGS as usize && done.len() >= completed, "{} of {BOOKINGS}", done.len());
}
