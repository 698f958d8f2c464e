//! What an execution costs that does nothing: from its creation to its acknowledged end, the full record kept.
//!
//! `jobs --out DIRECTORY [--peers DIRECTORY] [--quick] [--only STORE] [PART…]`, the parts being `drain`, `rows`, `prune`,
//! `latency` and `checkpoints`. Stores and peers take turns; with `--only` there is one store, for a profiler. The peers are
//! programs of the package `peers`, in that directory.

mod checkpoints;
mod drain;
mod latency;
mod peer;
mod prune;
mod rows;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use deadpool_postgres::{Manager as PoolManager, Pool};
use tracer::execution::{DynStore, ExecutionManager, MemoryStore};
use tracer_benches::measure::median;
use tracer_benches::table::{Column, Row, Table};
use tracer_dynamodb::DynamoStore;
use tracer_postgres::PostgresStore;
use tracer_redis::{Reconnecting, RedisStore};
use tracer_sqlite::SqliteStore;

use drain::{BATCH, By, Case, Manager};
use peer::Peer;
use rows::There;
use server::Server;

const USAGE: &str = "usage: jobs --out DIRECTORY [--peers DIRECTORY] [--quick] [--only STORE] [drain | rows | prune | latency | checkpoints]...";

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
    only: Option<String>,
    parts: Vec<String>,
}

impl Options {
    fn has_part(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    fn has_store(&self, group: &str) -> bool {
        let begins = |wanted: &String| group.to_lowercase().starts_with(&wanted.to_lowercase());
        self.only.as_ref().is_none_or(begins)
    }
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
    let mut options = Options { out: PathBuf::new(), peers: None, length: FULL, only: None, parts: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => options.out = arguments.next()?.into(),
            "--peers" => options.peers = Some(arguments.next()?.into()),
            "--only" => options.only = Some(arguments.next()?),
            "--quick" => options.length = QUICK,
            "drain" | "rows" | "prune" | "latency" | "checkpoints" => options.parts.push(argument),
            _ => return None,
        }
    }
    (!options.out.as_os_str().is_empty()).then_some(options)
}

async fn run(options: &Options) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (out, files) = (&*options.out, directory.path());
    if options.has_part("drain") {
        drains(options, files).await?.publish(out, "jobs")?;
    }
    if options.has_part("rows") {
        sizes(options, files).await?.publish(out, "jobs-rows")?;
    }
    if options.has_part("prune") {
        prunes(options, files).await?.publish(out, "jobs-prune")?;
    }
    if options.has_part("latency") {
        latencies(options, files).await?.publish(out, "jobs-latency")?;
    }
    if options.has_part("checkpoints") {
        checkpoints(options, files).await?.publish(out, "jobs-checkpoints")?;
    }
    Ok(())
}

const MEMORY: &str = "memory";
const SQLITE: &str = "SQLite, survives kill";
const POSTGRES: &str = "PostgreSQL, fsync on";
const REDIS: &str = "Redis, appendfsync everysec";
const DYNAMODB: &str = "DynamoDB, an emulator";

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

async fn dynamodb(server: &Server) -> Result<Manager, String> {
    let store = DynamoStore::open(server.dynamodb_client().await, "bench").await.map_err(text)?;
    Ok(ExecutionManager::new(DynStore::new(store)))
}

/// Every store by its calls and with a worker, and the peers; each on a server of its own.
async fn cases(options: &Options, files: &Path) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let kinds: [(fn(Manager) -> By, &str); 2] = [(By::Calls, "calls"), (By::Worker, "worker")];
    for group in [MEMORY, SQLITE, POSTGRES, REDIS].into_iter().filter(|group| options.has_store(group)) {
        for (by, name) in kinds {
            let (manager, server) = open(group, &files.join(format!("{name}.db"))).await?;
            cases.push(Case::new(group, name, by(manager), server)?);
        }
        let peers = options.peers.iter().filter(|_| group == POSTGRES);
        for (peers, (program, name)) in peers.flat_map(|peers| PEERS.map(|peer| (peers, peer))) {
            let server = Server::postgres().await;
            let peer = Peer::start(&peers.join(program), &server.url()).await?;
            cases.push(Case::new(group, name, By::Peer(peer), Some(server))?);
        }
    }
    Ok(cases)
}

const PEERS: [(&str, &str); 2] =
    [("peer-graphile", "graphile_worker, local queue (deletes)"), ("peer-apalis", "apalis-postgres")];

/// A new store, with a server if it needs one.
async fn open(group: &str, file: &Path) -> Result<(Manager, Option<Server>), String> {
    Ok(match group {
        MEMORY => (memory(), None),
        SQLITE => (sqlite(file)?, None),
        POSTGRES => {
            let server = Server::postgres().await;
            (postgres(&server).await?, Some(server))
        }
        REDIS => {
            let server = Server::redis().await?;
            (redis(&server).await?, Some(server))
        }
        _ => {
            let server = Server::dynamodb();
            (dynamodb(&server).await?, Some(server))
        }
    })
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

async fn drains(options: &Options, files: &Path) -> Result<Table, String> {
    let (mut cases, length) = (cases(options, files).await?, &options.length);
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
    let rows: Vec<Row> = cases.into_iter().map(row).collect();
    let missed = rows.iter().filter_map(|row| match row.figures[..] {
        [Some(cost), Some(target), ..] if cost > target => {
            Some(format!("{}, {}: {cost:.1} of {target}", row.group, row.name))
        }
        _ => None,
    });
    let missed = missed.collect::<Vec<_>>().join("; ");
    Ok(Table {
        title: "From creation to acknowledged completion".to_owned(),
        columns: vec![
            Column { heading: "CPU µs/job", digits: 1 },
            Column { heading: "target", digits: 0 },
            Column { heading: "client", digits: 1 },
            Column { heading: "server", digits: 1 },
            Column { heading: "jobs/s", digits: 0 },
        ],
        rows,
        notes: vec![
            if missed.is_empty() { "All targets are met.".to_owned() } else { format!("Missed are: {missed}.") },
            format!(
                "Medians of {} turns with {} jobs each, which took turns; created {BATCH} at a time.",
                length.turns, length.jobs
            ),
            format!("`calls`: claimed and completed {BATCH} at a time, one after the other. `worker`: with a handler."),
        ],
    })
}

async fn sizes(options: &Options, files: &Path) -> Result<Table, String> {
    let mut rows = Vec::new();
    let jobs = options.length.jobs / 2;
    let grown = [
        (SQLITE, There::Ended, "ended.db", "that have ended"),
        (SQLITE, There::Waiting, "waiting.db", "that wait"),
        (POSTGRES, There::Ended, "", "that have ended"),
        (POSTGRES, There::Waiting, "", "that wait"),
        (REDIS, There::Waiting, "", "that wait"),
    ];
    for (group, there, file, name) in grown.into_iter().filter(|(group, ..)| options.has_store(group)) {
        let (manager, server) = open(group, &files.join(file)).await?;
        let mut case = Case::new(group, name, By::Calls(manager), server)?;
        rows::grow(&mut case, there, options.length.sizes, jobs, &mut rows).await?;
    }
    Ok(rows::table(rows, jobs))
}

async fn prunes(options: &Options, files: &Path) -> Result<Table, String> {
    let mut rows = Vec::new();
    let count = options.length.sizes.iter().copied().max().unwrap_or_default();
    for group in [SQLITE, POSTGRES].into_iter().filter(|group| options.has_store(group)) {
        for (there, file, name) in
            [(There::Ended, "to-go.db", "that have ended"), (There::Waiting, "to-stay.db", "that wait, and stay")]
        {
            let (manager, server) = open(group, &files.join(file)).await?;
            let mut case = Case::new(group, name, By::Calls(manager), server)?;
            prune::measure(&mut case, there, count, &mut rows).await?;
        }
    }
    Ok(prune::table(rows))
}

async fn latencies(options: &Options, files: &Path) -> Result<Table, String> {
    let mut rows = Vec::new();
    let samples = options.length.samples;
    for group in [MEMORY, SQLITE, REDIS].into_iter().filter(|group| options.has_store(group)) {
        let (manager, _server) = open(group, &files.join("latency.db")).await?;
        latency::measure(group, "with a hint", &manager, manager.clone(), samples, &mut rows).await?;
    }
    // Nothing wakes a worker whose connections are somebody's own.
    if options.has_store(REDIS) {
        let server = Server::redis().await?;
        let connection = Reconnecting::new(server.client()?, Duration::from_secs(10));
        let deaf = DynStore::new(RedisStore::with_connection(connection, "bench").await.map_err(text)?);
        let creates = redis(&server).await?;
        latency::measure(REDIS, "asks", &creates, ExecutionManager::new(deaf), samples, &mut rows).await?;
    }
    if options.has_store(POSTGRES) {
        let server = Server::postgres().await;
        let creates = postgres(&server).await?;
        let works = postgres(&server).await?;
        latency::measure(POSTGRES, "with a hint", &creates, works, samples, &mut rows).await?;
        let pool = Pool::builder(PoolManager::new(server.config(), tokio_postgres::NoTls)).build().map_err(text)?;
        let deaf = DynStore::new(PostgresStore::with_pool(pool).await.map_err(text)?);
        latency::measure(POSTGRES, "asks", &creates, ExecutionManager::new(deaf), samples, &mut rows).await?;
    }
    Ok(latency::table(rows, samples))
}

async fn checkpoints(options: &Options, files: &Path) -> Result<Table, String> {
    let mut rows = Vec::new();
    let groups = [MEMORY, SQLITE, POSTGRES, REDIS, DYNAMODB];
    for group in groups.into_iter().filter(|group| options.has_store(group)) {
        let (manager, _server) = open(group, &files.join("checkpoints.db")).await?;
        checkpoints::measure(group, &manager, &[0, 1_000, 10_000], &mut rows).await?;
    }
    let columns = ["none", "1,000", "10,000"].map(|heading| Column { heading, digits: 1 });
    Ok(checkpoints::table(rows, columns.into()))
}
