//! The servers of stores, with their settings for what they promise; they die and come back.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use rustix::process::{Pid, Signal, kill_process};
use tracer_store_conformance::server::{self, Place, Server, built};
use tracer_store_conformance::{Proxy, Target as Behind, Weather};

use crate::target::{DATABASE, Kind, Target};

/// A store whose server can die, and whose connections can be cut.
#[derive(Debug)]
pub struct World {
    kind: Kind,
    /// None: there is no server, only a file.
    server: Option<Server>,
    proxy: Option<Proxy>,
    target: Target,
}

impl World {
    /// A new, empty store.
    ///
    /// # Panics
    ///
    /// If a server cannot be started.
    pub async fn new(kind: Kind, directory: &Path) -> Self {
        if kind == Kind::Sqlite {
            let place = directory.join("executions.db").display().to_string();
            return Self { kind, server: None, proxy: None, target: Target { kind, place } };
        }
        let server = serve(kind, Place::new());
        if kind == Kind::Mysql {
            create_database(&server).await;
        }
        let behind = behind(kind, server.path());
        let proxy = Proxy::to(behind).await.expect("there is a port");
        let target = Target { kind, place: proxy.port().to_string() };
        Self { kind, server: Some(server), proxy: Some(proxy), target }
    }

    /// How workers open it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether there is a server.
    pub fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// Looks whether the server still runs, if there is one, while one waits for its answer.
    ///
    /// # Panics
    ///
    /// If it has ended by itself; with what it said.
    pub fn must_run(&self) {
        if let Some(server) = &self.server {
            server.must_run();
        }
    }

    /// The server dies, and is started again on what it has left.
    ///
    /// # Panics
    ///
    /// If there is none, or it cannot be started again.
    pub async fn restart(&mut self) {
        let server = self.server.take().expect("there is a server");
        if self.kind == Kind::Postgres {
            // An immediate shutdown: SIGKILL would leave its children, which keep the memory that they share.
            let process = std::fs::read_to_string(server.path().join("process")).expect("it has started");
            let process = process.trim().parse().ok().and_then(Pid::from_raw).expect("it is the id of a process");
            kill_process(process, Signal::QUIT).expect("it runs");
            while !server.path().join("ended").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.server = Some(serve(self.kind, server.kill()));
    }

    /// Cuts all connections before the answers arrive, for a while.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub async fn cut(&self, during: Duration) {
        let proxy = self.proxy.as_ref().expect("there is a server");
        proxy.weather(Weather::AnswersLost);
        tokio::time::sleep(during).await;
        proxy.weather(Weather::Fine);
    }
}

fn behind(kind: Kind, place: &Path) -> Behind {
    match kind {
        Kind::Postgres => Behind::Socket(place.join(".s.PGSQL.5432")),
        Kind::Mysql => Behind::Socket(place.join("mysql.sock")),
        Kind::Sqlite | Kind::Redis => Behind::Socket(place.join("redis.sock")),
        Kind::Dynamodb => Behind::PortIn(place.join("port")),
    }
}

/// The database that workers use; the others have one of their own accord.
async fn create_database(server: &Server) {
    let opts =
        OptsBuilder::default().user(Some("root")).socket(Some(server.path().join("mysql.sock").display().to_string()));
    let mut connection = loop {
        match Conn::new(opts.clone()).await {
            Ok(connection) => break connection,
            Err(_) => server.must_run(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    connection.query_drop(format!("CREATE DATABASE {DATABASE}")).await.expect("it is new");
}

/// A place for what is built by the way, in the directory to which Cargo has built this program.
fn kept(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("this program is a file");
    let target = program.ancestors().nth(2).expect("it is in `debug` or `release`");
    target.join("tmp").join(name)
}

/// What sets the clock of a worker wrong, once it is loaded into it.
///
/// # Panics
///
/// If it cannot be built.
pub fn skew() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("skew/Cargo.toml");
    built(&package, &kept("chaos-skew"), "libtracer_chaos_skew.so")
}

static DYNAMODB: OnceLock<PathBuf> = OnceLock::new();

fn dynamodb() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stores/dynamodb/server/Cargo.toml");
    built(&package, &kept("dynamodb-server"), "tracer-dynamodb-server")
}

/// Starts the server on its files, which are made if there are none.
fn serve(kind: Kind, place: Place) -> Server {
    match kind {
        Kind::Postgres => server::postgres(place, &["-c", "max_connections=200"]),
        Kind::Mysql => server::mariadb(place, &[]),
        Kind::Sqlite | Kind::Redis => {
            server::redis(place, &["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        }
        Kind::Dynamodb => {
            // Where the one listened that was here before.
            let _ = std::fs::remove_file(place.path().join("port"));
            place.serve(DYNAMODB.get_or_init(dynamodb), ["tables.db"])
        }
    }
}
