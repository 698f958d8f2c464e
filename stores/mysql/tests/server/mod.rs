//! A MariaDB for the tests of one process.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tracer_store_conformance::server::{Place, Server, program};

/// How to connect to the server that all tests of a process share, with a new and empty database.
pub(crate) async fn opts(database: &str) -> Opts {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let place = Place::new();
        install(&place);
        // Nobody cuts the power here.
        start(place, &["--innodb-flush-log-at-trx-commit=0"])
    });
    new_database(server, database).await
}

/// Makes the files of a server, one that lets everybody in who is on this machine.
pub(crate) fn install(place: &Place) {
    let install = program(&["mariadb-install-db", "mysql_install_db"], &[]);
    let install = install.expect("there is a MariaDB: `cargo xtask test` installs one");
    let mut install = place.command(install);
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    let data = format!("--datadir={}", place.path().join("data").display());
    place.prepare(install.arg("--user=root").arg(data));
}

/// Starts a server on files that are there, at a socket among them.
pub(crate) fn start(place: Place, settings: &[&str]) -> Server {
    let server: PathBuf = program(&["mariadbd", "mysqld"], &["/usr/sbin".into()]).expect("it was installed");
    let here = [("--datadir", "data"), ("--socket", "mysql.sock"), ("--pid-file", "pid")];
    let here = here.map(|(option, file)| format!("{option}={}", place.path().join(file).display()));
    let fixed = ["--no-defaults", "--user=root", "--skip-networking", "--max-connections=400", "--skip-log-bin"];
    let arguments = fixed.into_iter().chain(here.iter().map(String::as_str)).chain(settings.iter().copied());
    place.serve(server, arguments)
}

pub(crate) async fn new_database(server: &Server, database: &str) -> Opts {
    let socket = server.path().join("mysql.sock").display().to_string();
    let opts = OptsBuilder::default().user(Some("root")).socket(Some(socket));
    ready(server, &opts).await.query_drop(format!("CREATE DATABASE `{database}`")).await.expect("it is new");
    opts.db_name(Some(database)).into()
}

/// A server that has just been started takes a moment; how long depends on the machine alone, so there is no clock here
/// that could be set.
pub(crate) async fn ready(server: &Server, opts: &OptsBuilder) -> Conn {
    for _ in 0..1200 {
        if let Ok(conn) = Conn::new(opts.clone()).await {
            return conn;
        }
        server.must_run();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server does not answer: see the log in {}", server.path().display());
}
