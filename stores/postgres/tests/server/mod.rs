//! A PostgreSQL for the tests of one process: started when it is first needed, gone when the process is.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio_postgres::{Config, NoTls};

/// `nobody`: a server refuses to run as root.
const NOBODY: u32 = 65_534;

/// Ends the server and removes its files as soon as its standard input ends, which it does with this process, however
/// that dies.
const WATCH: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -h "" -p "$3" -c fsync=off -c max_connections=400 >"$2/log" 2>&1 &
server=$!
read -r _
kill -INT $server
wait $server
rm -rf "$2"
"#;

struct Server {
    directory: PathBuf,
    port: u16,
}

/// How to connect to the server, with a new and empty schema.
pub(crate) async fn config(schema: &str) -> Config {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(start);
    let mut config = Config::new();
    config.host_path(&server.directory).port(server.port).user("postgres").dbname("postgres");
    let client = first_client(&config).await;
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).await.expect("the schema is new");
    config.options(format!("-c search_path={schema}"));
    config
}

/// A server that has just been started takes a moment; how long depends on the machine alone, so there is no clock here
/// that could be set.
async fn first_client(config: &Config) -> tokio_postgres::Client {
    for _ in 0..600 {
        if let Ok((client, connection)) = config.connect(NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server does not answer: see the log in {config:?}");
}

fn start() -> Server {
    let programs = programs().expect("there is a PostgreSQL: `cargo xtask test` installs one");
    let directory = tempfile::tempdir().expect("there is a place for temporary files").keep();
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(&directory);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    if is_root {
        chown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may do that");
    }
    let mut initdb = command(&programs.join("initdb"));
    initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
    let made = initdb.arg(directory.join("data")).output().expect("initdb can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = listener.expect("there is a free port").port();
    let mut watch = command(Path::new("/bin/sh"));
    watch.args(["-c", WATCH, "watch"]).arg(&programs).arg(&directory).arg(port.to_string());
    let watch = watch.stdin(Stdio::piped()).spawn().expect("a shell can be started");
    // Its standard input stays open for as long as this process lives.
    std::mem::forget(watch);
    Server { directory, port }
}

/// Where `initdb` and `postgres` are: in the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    places.sort();
    std::env::split_paths(&path).chain(places.into_iter().rev()).find(|place| place.join("initdb").is_file())
}
