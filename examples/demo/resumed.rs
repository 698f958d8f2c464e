//! The third act: a batch import is killed twice, and goes on where it was, to the end, with nothing done twice.
//!
//! The rows of `data/clock_changes.csv` go into a table of an SQLite file, a hundred at a time, by an execution in another
//! file. The worker is a process of its own, this program again.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::time::sleep;
use tracer::execution::{Execution, ExecutionId, ExecutionManager, ExecutionStatus, Failure, NewExecution, Progress};
use tracer::traced_node;
use tracer_sqlite::SqliteStore;
use tracer_workers::{Attempt, Worker};

use crate::killed::{ask, died, program};
use crate::{Paint, WIDTH};

/// What the worker is told to be its work: the first argument.
pub(crate) const IMPORT: &str = "import";

const ROWS: &str = include_str!("../data/clock_changes.csv");
const CHUNK: usize = 100;
/// How far it is when it is killed, in percent.
const KILLS: [f64; 2] = [30.0, 60.0];
const LEASE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    zone: String,
    at_unix_s: i64,
    offset_s: i64,
    daylight: u8,
    abbreviation: String,
}

fn rows() -> Result<Vec<Row>, csv::Error> {
    csv::Reader::from_reader(ROWS.as_bytes()).into_deserialize().collect()
}

/// Where things are.
struct Files {
    executions: PathBuf,
    target: PathBuf,
}

impl Files {
    fn of(directory: &Path) -> Self {
        Self { executions: directory.join(".tracer/executions.db"), target: directory.join("clock_changes.db") }
    }
}

/// Puts some rows into the table, all of them or none, and says how many.
#[traced_node(checkpoint)]
async fn load(target: &Path, number: u32, rows: &[Row]) -> Result<usize, rusqlite::Error> {
    let mut connection = Connection::open(target)?;
    let transaction = connection.transaction()?;
    // If the process died after the last line of this and before the result was kept, the chunk is there already.
    transaction.execute("DELETE FROM clock_changes WHERE chunk = ?", [number])?;
    for row in rows {
        transaction.execute(
            "INSERT INTO clock_changes VALUES (?, ?, ?, ?, ?)",
            params![number, row.zone, row.at_unix_s, row.offset_s, row.daylight],
        )?;
    }
    transaction.execute("INSERT INTO loads VALUES (?)", [number])?;
    transaction.commit()?;
    Ok(rows.len())
}

async fn import(attempt: Attempt, target: PathBuf) -> Result<usize, Failure> {
    let rows = rows()?;
    let mut done = 0;
    for (number, chunk) in (0..).zip(rows.chunks(CHUNK)) {
        done += load(&target, number, chunk).await?;
        attempt.progress(Progress::new(done as u64, rows.len() as u64).message("rows")).await?;
    }
    Ok(done)
}

/// The worker that is going to be killed.
pub(crate) async fn work(directory: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let files = Files::of(directory);
    let manager = ExecutionManager::new(SqliteStore::open(&files.executions)?);
    let worker = Worker::new(manager).name(name).lease(LEASE).poll(Duration::from_millis(20));
    let _worker = worker.handler("import", move |attempt, (): ()| import(attempt, files.target.clone())).start();
    // Whoever started it may be gone without a word.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

/// Starts workers, kills two of them, and counts what is in the table in the end.
pub(crate) async fn run(paint: Paint) -> Result<(), Box<dyn Error>> {
    let tracer = program()?;
    let directory = tempfile::Builder::new().prefix("tracer-demo-").tempdir()?;
    let files = Files::of(directory.path());
    // Where `tracer exec` looks by itself.
    std::fs::create_dir(directory.path().join(".tracer"))?;
    Connection::open(&files.target)?.execute_batch(
        "CREATE TABLE clock_changes (chunk INTEGER, zone TEXT, at_unix_s INTEGER, offset_s INTEGER, daylight INTEGER);
         CREATE TABLE loads (chunk INTEGER);",
    )?;
    let manager = ExecutionManager::new(SqliteStore::open(&files.executions)?);

    println!();
    println!("{}", paint.bold("A batch import is killed twice, and goes on where it was"));
    let id = manager.create(NewExecution::new("import").max_attempts(5)).await?.id;
    let said = |about: String, became: &str| {
        println!("    {about}{became:>width$}", width = WIDTH - 4 - about.chars().count());
    };
    for (nth, percent) in KILLS.into_iter().enumerate() {
        let mut worker = start(&directory, nth + 1)?;
        until(&manager, &id, |now| now.progress.as_ref().is_some_and(|progress| progress.percent >= percent)).await?;
        worker.0.kill()?;
        said(format!("worker-{}, when {percent} % of the rows were there", nth + 1), &died(worker.0.wait()?)?);
    }
    let worker = start(&directory, KILLS.len() + 1)?;
    let done = until(&manager, &id, |now| now.status.is_terminal()).await?;
    drop(worker);
    said(format!("worker-{}", KILLS.len() + 1), &done.status.to_string());
    println!();
    println!("    {}", paint.bold("$ tracer exec show last"));
    let color = if paint.0 { "always" } else { "never" };
    let shown = ask(&tracer, &directory, &["exec", "show", "last", "--color", color])?;
    for line in shown.lines() {
        println!("{}", format!("    {line}").trim_end());
    }
    println!();
    check(&files.target, &done)
}

/// What is in the table is what is in the file, each row once; no chunk was loaded again but those that a kill had hit.
fn check(target: &Path, done: &Execution) -> Result<(), Box<dyn Error>> {
    let rows = rows()?;
    let connection = Connection::open(target)?;
    let numbers = |query: &str| connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let sum = |of: fn(&Row) -> i64| rows.iter().map(of).sum::<i64>();
    let expected = (i64::try_from(rows.len())?, sum(|row| row.at_unix_s), sum(|row| row.offset_s));
    let found: (i64, i64, i64) = numbers("SELECT count(*), sum(at_unix_s), sum(offset_s) FROM clock_changes")?;
    let (loaded, chunks, once): (i64, i64, i64) = numbers(
        "SELECT count(*), count(DISTINCT chunk), (SELECT count(*) FROM (SELECT DISTINCT zone, at_unix_s FROM clock_changes)) \
         FROM loads",
    )?;
    if found != expected || once != expected.0 {
        return Err(format!("expected rows and sums {expected:?}, each once, found {found:?} and {once}").into());
    }
    let kills = i64::try_from(KILLS.len())?;
    if (done.status, i64::from(done.attempts)) != (ExecutionStatus::Completed, kills + 1) {
        return Err(format!("expected it to be completed by attempt {}, found {done:?}", kills + 1).into());
    }
    if chunks != i64::try_from(rows.len().div_ceil(CHUNK))? || loaded > chunks + kills {
        return Err(
            format!("expected {chunks} chunks, at most {kills} of them loaded twice, found {loaded} loads").into()
        );
    }
    println!("    {:>6} rows in the table, each once, and their sums are those of the file", found.0);
    println!("    {chunks:>6} checkpoints: no attempt has done again what one before it had finished");
    Ok(())
}

async fn until(
    manager: &ExecutionManager<SqliteStore>,
    id: &ExecutionId,
    is_it: impl Fn(&Execution) -> bool,
) -> Result<Execution, Box<dyn Error>> {
    for _ in 0..30_000 {
        let execution = manager.get(id).await?;
        if is_it(&execution) {
            return Ok(execution);
        }
        if execution.status.is_terminal() {
            return Err(format!("it has ended: {execution:?}").into());
        }
        sleep(Duration::from_millis(2)).await;
    }
    Err("nothing happens".into())
}

/// The process of a worker. It does not outlive this one.
struct Working(Child);

fn start(directory: &TempDir, number: usize) -> Result<Working, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(IMPORT).arg(directory.path()).arg(format!("worker-{number}"));
    Ok(Working(command.stdin(Stdio::piped()).spawn()?))
}

impl Drop for Working {
    fn drop(&mut self) {
        // It may have been killed already, as is meant.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
