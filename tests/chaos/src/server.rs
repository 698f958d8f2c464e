//! The servers of stores, with their settings for what they promise; they die and come back.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tracer_store_conformance::server::{Place, Server, built, program};
use tracer_store_conformance::{Proxy, Target as Behind, Weather};

use crate::target::{Kind, Target};

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
        let place = prepared(kind);
        let behind = behind(kind, place.path());
        let server = serve(kind, place);
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

fn debian() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    places.sort();
    places.reverse();
    places.push("/usr/sbin".into());
    places
}

fn found(names: &[&str]) -> PathBuf {
    program(names, &debian()).unwrap_or_else(|| panic!("there is no {}: `cargo xtask test` installs one", names[0]))
}

fn prepared(kind: Kind) -> Place {
    match kind {
        Kind::Postgres => {
            let place = Place::new().not_as_root();
            let mut initdb = place.command(found(&["initdb"]));
            initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D", "data"]);
            place.prepare(&mut initdb);
            place
        }
        Kind::Mysql => {
            let place = Place::new();
            let mut install = place.command(found(&["mariadb-install-db", "mysql_install_db"]));
            install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            let data = format!("--datadir={}", place.path().join("data").display());
            place.prepare(install.arg("--user=root").arg(data));
            std::fs::create_dir(place.path().join("data").join("chaos")).expect("a directory is a database");
            place
        }
        Kind::Sqlite | Kind::Redis | Kind::Dynamodb => Place::new(),
    }
}

static DYNAMODB: OnceLock<PathBuf> = OnceLock::new();

fn dynamodb() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stores/dynamodb/server/Cargo.toml");
    built(&package, &kept("dynamodb-server"), "tracer-dynamodb-server")
}

fn serve(kind: Kind, place: Place) -> Server {
    let path = place.path().display().to_string();
    match kind {
        Kind::Postgres => {
            // What a server that died has left would keep the next one from its socket.
            let place = place.ended_by("INT");
            place.serve(found(&["postgres"]), ["-D", "data", "-k", &path, "-h", "", "-c", "max_connections=200"])
        }
        Kind::Mysql => {
            let here = [("--datadir", "data"), ("--socket", "mysql.sock"), ("--pid-file", "pid")];
            let here = here.map(|(option, file)| format!("{option}={path}/{file}"));
            let fixed = ["--no-defaults", "--user=root", "--skip-networking", "--skip-log-bin"];
            place.serve(found(&["mariadbd", "mysqld"]), fixed.into_iter().chain(here.iter().map(String::as_str)))
        }
        Kind::Sqlite | Kind::Redis => {
            let settings = ["--port", "0", "--unixsocket", "redis.sock", "--save", ""];
            let kept = ["--appendonly", "yes", "--appendfsync", "always"];
            place.serve(found(&["redis-server", "valkey-server"]), settings.into_iter().chain(kept))
        }
        Kind::Dynamodb => {
            // Where the one listened that was here before.
            let _ = std::fs::remove_file(place.path().join("port"));
            place.serve(DYNAMODB.get_or_init(dynamodb), ["tables.db"])
        }
    }
}
