//! What an execution costs that does nothing: from its creation to its acknowledged end, the full record kept.
//!
//! `jobs --out DIRECTORY [--peers DIRECTORY] [--quick] [PART…]`, the parts being `drain`, `rows` and `latency`. Stores and
//! peers take turns. The peers are programs of the package `peers`, in that directory.

mod drain;
mod latency;
mod peer;
mod rows;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracer::execution::{DynStore, ExecutionManager, MemoryStore};
use tracer_benches::measure::median;
use tracer_benches::table::{Column, Row, Table};
use tracer_postgres::PostgresStore;
use tracer_redis::RedisStore;
use tracer_sqlite::SqliteStore;

use drain::{BATCH, By, Case, Manager};
use peer::Peer;
use rows::There;
use server::Server;

const USAGE: &str = "usage: jobs --out DIRECTORY [--peers DIRECTORY] [--quick] [drain | rows | latency]...";

/// How much is done.
struct Length {
    turns: usize,
    jobs: usize,
    sizes: &'static [usize],
    samples: u32,
}

const FULL: Length = Length { turns: 7, jobs: 20_000, sizes: &[1_000, 10_000, 100_000, 1_000_000], samples: 200 };
const QUICK: Length = Length { turns: 3, jobs: 5_000, sizes: &[1_000, 50_000], samples: 30 };

struct Options {
    out: PathBuf,
    peers: Option<PathBuf>,
    length: Length,
    parts: Vec<String>,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let run = |runtime: tokio::runtime::Runtime| runtime.block_on(run(&options));
    tracer_benches::exit(runtime.map_err(|error| error.to_string()).and_then(run))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { out: PathBuf::new(), peers: None, length: FULL, parts: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => options.out = arguments.next()?.into(),
            "--peers" => options.peers = Some(arguments.next()?.into()),
            "--quick" => options.length = QUICK,
            "drain" | "rows" | "latency" => options.parts.push(argument),
            _ => return None,
        }
    }
    (!options.out.as_os_str().is_empty()).then_some(options)
}

async fn run(options: &Options) -> Result<(), String> {
    let is_wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == part);
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (out, length) = (&*options.out, &options.length);
    if is_wanted("drain") {
        drains(length, options.peers.as_deref(), directory.path()).await?.publish(out, "jobs")?;
    }
    if is_wanted("rows") {
        sizes(length, directory.path()).await?.publish(out, "jobs-rows")?;
    }
    if is_wanted("latency") {
        latencies(length, directory.path()).await?.publish(out, "jobs-latency")?;
    }
    Ok(())
}

const MEMORY: &str = "memory";
const SQLITE: &str = "SQLite, survives kill";
const POSTGRES: &str = "PostgreSQL, fsync on";
const REDIS: &str = "Redis, appendfsync everysec";

fn text(error: impl std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn memory() -> Manager {
    ExecutionManager::new(DynStore::new(MemoryStore::default()))
}

fn sqlite(file: &Path) -> Result<Manager, String> {
    Ok(ExecutionManager::new(DynStore::new(SqliteStore::open(file).map_err(text)?)))
}

async fn postgres(server: &Server) -> Result<Manager, String> {
    let store = PostgresStore::connect(server.config(), tokio_postgres::NoTls).await.map_err(text)?;
    Ok(ExecutionManager::new(DynStore::new(store)))
}

async fn redis(server: &Server) -> Result<Manager, String> {
    let store = RedisStore::connect(server.client()?, "bench").await.map_err(text)?;
    Ok(ExecutionManager::new(DynStore::new(store)))
}

/// Every store by its calls and with a worker, and the peers; each on a server of its own.
async fn cases(peers: Option<&Path>, directory: &Path) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let kinds: [(fn(Manager) -> By, &str); 2] = [(By::Calls, "calls"), (By::Worker, "worker")];
    for (by, name) in kinds {
        cases.push(Case::new(MEMORY, name, by(memory()), None)?);
    }
    for (by, name) in kinds {
        let manager = sqlite(&directory.join(format!("{name}.db")))?;
        cases.push(Case::new(SQLITE, name, by(manager), None)?);
    }
    for (by, name) in kinds {
        let server = Server::postgres().await?;
        let manager = postgres(&server).await?;
        cases.push(Case::new(POSTGRES, name, by(manager), Some(server))?);
    }
    let known = [("peer-graphile", "graphile_worker, local queue (deletes)"), ("peer-apalis", "apalis-postgres")];
    for (program, name) in known {
        if let Some(peers) = peers {
            let server = Server::postgres().await?;
            let peer = Peer::start(&peers.join(program), &server.url()).await?;
            cases.push(Case::new(POSTGRES, name, By::Peer(peer), Some(server))?);
        }
    }
    for (by, name) in kinds {
        let server = Server::redis().await?;
        let manager = redis(&server).await?;
        cases.push(Case::new(REDIS, name, by(manager), Some(server))?);
    }
    Ok(cases)
}

/// At most so many microseconds a job, client and server together.
fn target(group: &str) -> Option<f64> {
    match group {
        MEMORY => Some(3.0),
        SQLITE => Some(15.0),
        POSTGRES => Some(60.0),
        REDIS => Some(50.0),
        _ => None,
    }
}

async fn drains(length: &Length, peers: Option<&Path>, directory: &Path) -> Result<Table, String> {
    let mut cases = cases(peers, directory).await?;
    // The first turn warms up.
    for turn in 0..=length.turns {
        eprintln!("   drain: turn {turn} of {}", length.turns);
        for case in &mut cases {
            let cost = case.turn(length.jobs).await?;
            if turn > 0 {
                case.costs.push(cost);
            }
        }
    }
    for case in &cases {
        case.check().await?;
    }
    let row = |case: Case| {
        let middle = |figure: fn(&drain::Cost) -> f64| median(&mut case.costs.iter().map(figure).collect::<Vec<_>>());
        let target = target(case.group).filter(|_| !matches!(case.by, By::Peer(_)));
        let figures = [
            Some(middle(|cost| cost.client + cost.server)),
            target,
            Some(middle(|cost| cost.client)),
            case.server.as_ref().map(|_| middle(|cost| cost.server)),
            Some(1e6 / middle(|cost| cost.wall)),
        ];
        Row { group: case.group.to_owned(), name: case.name, figures: figures.to_vec() }
    };
    Ok(Table {
        title: "From creation to acknowledged completion".to_owned(),
        columns: vec![
            Column { heading: "CPU µs/job", digits: 1 },
            Column { heading: "target", digits: 0 },
            Column { heading: "client", digits: 1 },
            Column { heading: "server", digits: 1 },
            Column { heading: "jobs/s", digits: 0 },
        ],
        rows: cases.into_iter().map(row).collect(),
        notes: vec![
            format!(
                "Medians of {} turns with {} jobs each, which took turns; created {BATCH} at a time.",
                length.turns, length.jobs
            ),
            format!("`calls`: claimed and completed {BATCH} at a time, one after the other. `worker`: with a handler."),
        ],
    })
}

async fn sizes(length: &Length, directory: &Path) -> Result<Table, String> {
    let mut rows = Vec::new();
    let jobs = length.jobs / 2;
    let manager = sqlite(&directory.join("rows.db"))?;
    let mut case = Case::new(SQLITE, "that have ended", By::Calls(manager), None)?;
    rows::grow(&mut case, There::Ended, length.sizes, jobs, &mut rows).await?;
    let manager = sqlite(&directory.join("waiting.db"))?;
    let mut case = Case::new(SQLITE, "that wait", By::Calls(manager), None)?;
    rows::grow(&mut case, There::Waiting, length.sizes, jobs, &mut rows).await?;
    let server = Server::redis().await?;
    let manager = redis(&server).await?;
    let mut case = Case::new(REDIS, "that wait", By::Calls(manager), Some(server))?;
    rows::grow(&mut case, There::Waiting, length.sizes, jobs, &mut rows).await?;
    Ok(rows::table(rows, jobs))
}

async fn latencies(length: &Length, directory: &Path) -> Result<Table, String> {
    let mut rows = Vec::new();
    let samples = length.samples;
    let manager = memory();
    latency::measure("memory, with the hint", &manager, manager.clone(), samples, &mut rows).await?;
    let manager = sqlite(&directory.join("latency.db"))?;
    latency::measure("SQLite, which has no hint", &manager, manager.clone(), samples, &mut rows).await?;
    let server = Server::postgres().await?;
    let (creates, works) = (postgres(&server).await?, postgres(&server).await?);
    latency::measure("PostgreSQL", &creates, works, samples, &mut rows).await?;
    let server = Server::redis().await?;
    let (creates, works) = (redis(&server).await?, redis(&server).await?);
    latency::measure("Redis, which has no hint", &creates, works, samples, &mut rows).await?;
    Ok(latency::table(rows, samples))
}
