//! A DynamoDB for the tests of one process. It is built here, too: see `server` beside `tests`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_dynamodb::{Client, Config};
use tracer_store_conformance::server::{Place, Server, built};

/// The port of a server that all tests of a process share. Each takes a table of its own.
pub(crate) async fn port() -> u16 {
    static SERVER: OnceLock<Server> = OnceLock::new();
    ready(SERVER.get_or_init(|| start(Place::new(), &[]))).await
}

/// A client of the server at this port, as the tests that all goes well need it.
pub(crate) fn client(port: u16) -> Client {
    Client::from_conf(config(port).build())
}

pub(crate) fn config(port: u16) -> Builder {
    let http = aws_smithy_http_client::Builder::new().build_http();
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .http_client(http)
}

pub(crate) fn start(place: Place, arguments: &[&str]) -> Server {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let _ = std::fs::remove_file(place.path().join("port"));
    place.serve(PROGRAM.get_or_init(build), arguments.iter().copied())
}

fn build() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dynamodb-server");
    built(&own, &target, "tracer-dynamodb-server")
}

/// A server that has just been started takes a moment; how long depends on the machine alone, so there is no clock here
/// that could be set.
pub(crate) async fn ready(server: &Server) -> u16 {
    for _ in 0..600 {
        let port = std::fs::read_to_string(server.path().join("port"));
        if let Some(port) = port.ok().and_then(|port| port.parse().ok()) {
            return port;
        }
        server.must_run();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server does not answer: see the log in {}", server.path().display());
}
