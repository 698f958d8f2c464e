//! The servers of stores, on files of their own, and what they have used.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use tokio_postgres::NoTls;
use tracer_store_conformance::server::{self, Place};

/// A server that ends with this.
pub(crate) struct Server(server::Server);

impl Server {
    /// An empty PostgreSQL that waits for the disk, with its settings as they come.
    pub(crate) async fn postgres() -> Self {
        let started = Self(server::postgres(Place::new(), &[]));
        while started.config().connect(NoTls).await.is_err() {
            started.is_starting().await;
        }
        started
    }

    /// How to connect to a PostgreSQL.
    pub(crate) fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.0.path()).user("postgres").dbname("postgres");
        config
    }

    /// The same, as a URL.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@localhost/postgres?host={}", self.0.path().display())
    }

    /// An empty Redis that writes a log, to the disk every second.
    pub(crate) async fn redis() -> Result<Self, String> {
        let started = Self(server::redis(Place::new(), &["--save", "", "--appendonly", "yes"]));
        while started.client()?.get_multiplexed_async_connection().await.is_err() {
            started.is_starting().await;
        }
        Ok(started)
    }

    /// The client of a Redis.
    pub(crate) fn client(&self) -> Result<redis::Client, String> {
        let url = format!("redis+unix://{}", self.0.path().join("redis.sock").display());
        redis::Client::open(url).map_err(|error| error.to_string())
    }

    /// An empty emulator of DynamoDB, with its tables in memory.
    pub(crate) fn dynamodb() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let package = root.join("stores/dynamodb/server/Cargo.toml");
        let program = server::built(&package, &root.join("target/xtask/dynamodb-server"), "tracer-dynamodb-server");
        Self(Place::new().serve(program, []))
    }

    /// The client of an emulator of DynamoDB, once that listens.
    pub(crate) async fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        let port = loop {
            match fs::read_to_string(self.0.path().join("port")) {
                Ok(port) if !port.is_empty() => break port,
                _ => self.is_starting().await,
            }
        };
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// Once a PostgreSQL has tidied up behind what was written, as it would by and by.
    pub(crate) async fn tidied_postgres(&self) -> Result<(), String> {
        let (client, connection) = self.config().connect(NoTls).await.map_err(|error| error.to_string())?;
        let connected = tokio::spawn(connection);
        let tidied = client.batch_execute("VACUUM (ANALYZE)").await.map_err(|error| error.to_string());
        connected.abort();
        tidied
    }

    /// Once a Redis has no child that writes its log anew, and will have none.
    pub(crate) async fn tidied_redis(&self) -> Result<(), String> {
        let connected = self.client()?.get_multiplexed_async_connection().await;
        let mut connection = connected.map_err(|error| error.to_string())?;
        let mut never = redis::cmd("CONFIG");
        never.arg(&["SET", "auto-aof-rewrite-percentage", "0"]);
        never.query_async::<()>(&mut connection).await.map_err(|error| error.to_string())?;
        loop {
            let info = redis::cmd("INFO").arg("persistence").query_async::<String>(&mut connection).await;
            let info = info.map_err(|error| error.to_string())?;
            if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn is_starting(&self) {
        self.0.must_run();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// What its processes have used so far, those that have ended included, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<f64, String> {
        let first = fs::read_to_string(self.0.path().join("process")).map_err(|error| error.to_string())?;
        let first: u32 = first.trim().parse().map_err(|_| "it has no process".to_owned())?;
        let processes: HashMap<u32, Process> = fs::read_dir("/proc")
            .map_err(|error| error.to_string())?
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, Process::read(entry.path())?)))
            .collect();
        let is_of_it = |mut id: u32| {
            while id != first {
                match processes.get(&id) {
                    Some(process) => id = process.parent,
                    None => return false,
                }
            }
            true
        };
        let ticks: u64 = processes.iter().filter(|(id, _)| is_of_it(**id)).map(|(_, process)| process.ticks).sum();
        Ok(ticks as f64 * TICK_US)
    }
}

/// The unit of `/proc/…/stat`, on every architecture that Linux runs on today.
const TICK_US: f64 = 10_000.0;

struct Process {
    parent: u32,
    /// Its own, and those of its children that have ended.
    ticks: u64,
}

impl Process {
    fn read(directory: PathBuf) -> Option<Self> {
        let stat = fs::read_to_string(directory.join("stat")).ok()?;
        let (_, behind_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = behind_name.split(' ').collect();
        let ticks = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(Self { parent: fields[1].parse().ok()?, ticks })
    }
}
