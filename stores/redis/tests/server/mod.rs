//! A Redis for the tests of one process.

use std::sync::OnceLock;
use std::time::Duration;

use redis::Client;
use tracer_store_conformance::server::{self, Place, Server};

/// The client of a server that all tests of a process share. Each takes a namespace of its own.
pub(crate) async fn client() -> Client {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| server::redis(Place::new(), &["--save", ""]));
    ready(server).await
}

/// A server that has just been started takes a moment; how long depends on the machine alone, so there is no clock here
/// that could be set.
pub(crate) async fn ready(server: &Server) -> Client {
    let url = format!("redis+unix://{}", server.path().join("redis.sock").display());
    let client = Client::open(url).expect("it is a right one");
    for _ in 0..600 {
        let connected = client.get_multiplexed_async_connection().await;
        if let Ok(mut connection) = connected
            && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
        {
            return client;
        }
        server.must_run();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server does not answer: see the log in {}", server.path().display());
}
