//! A MariaDB for the tests of one process.

use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tracer_store_conformance::server::{self, Place, Server};

/// How to connect to the server that all tests of a process share, with a new and empty database.
pub(crate) async fn opts(database: &str) -> Opts {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        // Nobody cuts the power here.
        server::mariadb(Place::new(), &["--innodb-flush-log-at-trx-commit=0"])
    });
    new_database(server, database).await
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
