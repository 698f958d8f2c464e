//! A PostgreSQL for the tests of one process: started when it is first needed, gone when the process is.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};
use tracer_store_conformance::server::{self, Place, Server};

/// How to connect to the server, with a new and empty schema.
pub(crate) async fn config(schema: &str) -> Config {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        // Nobody cuts the power here.
        server::postgres(Place::new(), &["-c", "fsync=off", "-c", "max_connections=400"])
    });
    let mut config = Config::new();
    // It is in the name of the socket.
    config.host_path(server.path()).port(5432).user("postgres").dbname("postgres");
    let client = first_client(server, &config).await;
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).await.expect("the schema is new");
    config.options(format!("-c search_path={schema}"));
    config
}

/// A server that has just been started takes a moment; how long depends on the machine alone, so there is no clock here
/// that could be set.
async fn first_client(server: &Server, config: &Config) -> Client {
    for _ in 0..600 {
        if let Ok((client, connection)) = config.connect(NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        server.must_run();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server does not answer: see the log in {}", server.path().display());
}
