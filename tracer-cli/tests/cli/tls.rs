//! `tracer exec` on databases behind TLS: who is believed, and what is said of who is not.

use std::path::{Path, PathBuf};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_postgres::NoTls;
use tracer::execution::{ExecutionManager, ExecutionStore, NewExecution};
use tracer_mysql::MysqlStore;
use tracer_postgres::PostgresStore;
use tracer_redis::RedisStore;
use tracer_store_conformance::server::{self, Place, Server, free_port};

use crate::exec::ready;
use crate::world::{Ran, World};

/// Where a server finds its certificate, which is for `localhost` and nobody else; and the CA that has signed it, as PEM.
struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    ca: String,
}

impl Shown {
    fn new(place: &Place) -> Self {
        let (issuer, ca) = ca("the CA of tests");
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self {
            certificate: place.write("server.crt", &certificate.pem()),
            key: place.write("server.key", &key.serialize_pem()),
            ca,
        }
    }
}

fn ca(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = ca.self_signed(&key).unwrap();
    (Issuer::new(ca, key), certificate.pem())
}

fn assign(option: &str, path: &Path) -> String {
    format!("{option}={}", path.display())
}

async fn create(store: impl ExecutionStore) {
    ExecutionManager::new(store).create(NewExecution::new("charge")).await.unwrap();
}

/// A directory with the right CA, and with another one.
fn world(shown: &Shown) -> World {
    let world = World::new();
    world.write("ca.pem", &shown.ca).write("other.pem", ca("another CA").1);
    world
}

fn list(world: &World, url: &str) -> Ran {
    let ran = world.run(&format!("exec ls --store {url}"));
    assert!(!ran.text().contains("hidden"), "{}", ran.text());
    ran
}

fn is_listed(world: &World, url: &str) {
    let ran = list(world, url);
    assert!(ran.code == 0 && ran.out.contains("charge"), "{url}: {}", ran.text());
}

fn is_refused(world: &World, url: &str, expected: &str) {
    let ran = list(world, url);
    assert_eq!((ran.code, &*ran.out), (3, ""), "{url}: {}", ran.text());
    assert!(ran.err.contains(expected) && ran.err.contains("  help: "), "{url}: {}", ran.text());
}

const ISSUER: &str = "error: expected a certificate signed by a CA that is trusted, found one that none of them has signed; nothing was written";
const ABSENT: &str = "error: expected a server with TLS, found one without it; nothing was written";

/// `url` demands TLS of `localhost`.
fn only_who_is_trusted_is_believed(world: &World, url: &str) {
    is_listed(world, &format!("{url} --ca ca.pem"));
    let system = world.command(&format!("exec ls --store {url}")).env("SSL_CERT_FILE", world.path("ca.pem")).output();
    assert_eq!(Ran::from(system.unwrap()).code, 0, "{url}");
    let mut nowhere = world.command(&format!("exec ls --store {url}"));
    let nowhere = nowhere.env("SSL_CERT_FILE", world.path("none.pem")).env("SSL_CERT_DIR", world.path("none")).output();
    let nowhere = Ran::from(nowhere.unwrap()).err;
    assert!(nowhere.contains("where SSL_CERT_FILE and SSL_CERT_DIR say, found none: "), "{nowhere}");
    assert!(nowhere.contains("none.pem"), "{nowhere}");
    is_refused(world, url, ISSUER);
    is_refused(world, &format!("{url} --ca other.pem"), ISSUER);
    is_refused(world, &format!("{url} --ca none.pem"), "error: expected certificates of CAs as PEM in `none.pem`");
    let elsewhere = url.replace("localhost", "127.0.0.1");
    let expected = "error: expected a certificate for `127.0.0.1`, found one for localhost; nothing was written";
    is_refused(world, &format!("{elsewhere} --ca ca.pem"), expected);
    is_listed(world, &format!("{elsewhere} --insecure"));
}

fn postgres(place: Place, port: u16, settings: &[&str]) -> (Server, tokio_postgres::Config) {
    let port_setting = format!("port={port}");
    let listen = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", &port_setting];
    let server = server::postgres(place, &[&listen, settings].concat());
    let mut config = tokio_postgres::Config::new();
    config.host_path(server.path()).port(port).user("postgres").dbname("postgres");
    (server, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_postgresql_with_tls_is_believed_if_it_is_trusted() {
    let (place, port) = (Place::new().not_as_root(), free_port().unwrap());
    let shown = Shown::new(&place);
    // Nobody gets in from elsewhere without TLS, nor without a password.
    let allowed = place.write("hba", "local all all trust\nhostssl all all all scram-sha-256\n");
    let (certificate, key) = (assign("ssl_cert_file", &shown.certificate), assign("ssl_key_file", &shown.key));
    let allowed = assign("hba_file", &allowed);
    let settings = ["-c", "ssl=on", "-c", &certificate, "-c", &key, "-c", &allowed];
    let (server, config) = postgres(place, port, &settings);
    let (client, connection) = ready(&server, || config.connect(NoTls)).await;
    tokio::spawn(connection);
    client.batch_execute("CREATE ROLE me LOGIN SUPERUSER PASSWORD 'hidden'").await.unwrap();
    create(PostgresStore::connect(config, NoTls).await.unwrap()).await;
    let world = world(&shown);
    let url = |mode: &str| format!("postgres://me:hidden@localhost:{port}/postgres?sslmode={mode}");

    only_who_is_trusted_is_believed(&world, &url("require"));
    only_who_is_trusted_is_believed(&world, &url("verify-full"));
    is_listed(&world, &url("require&sslrootcert=ca.pem"));
    is_listed(&world, &url("require&sslrootcert=ca.pem&channel_binding=require"));
    is_refused(&world, &url("require&sslrootcert=system"), ISSUER);
    is_listed(&world, &format!("{} --ca ca.pem", url("require&sslrootcert=other.pem")));
    let elsewhere = url("verify-ca").replace("localhost", "127.0.0.1");
    is_listed(&world, &format!("{elsewhere} --ca ca.pem"));
    is_refused(&world, &format!("{elsewhere} --ca other.pem"), ISSUER);
    is_listed(&world, &url("prefer"));
    is_listed(&world, &url("prefer").replace("?sslmode=prefer", ""));
    is_listed(&world, &format!("postgres://me:hidden@/postgres?hostaddr=127.0.0.1&port={port}"));
    is_refused(&world, &url("disable"), "no encryption");
    let unsaid = list(&world, &url("allow"));
    assert!(unsaid.code == 2 && unsaid.err.contains("found `allow`"), "{}", unsaid.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_postgresql_without_tls_is_told_from_one_with_it() {
    let port = free_port().unwrap();
    let (server, config) = postgres(Place::new(), port, &[]);
    drop(ready(&server, || config.connect(NoTls)).await);
    create(PostgresStore::connect(config, NoTls).await.unwrap()).await;
    let (world, url) = (World::new(), format!("postgres://postgres:hidden@localhost:{port}/postgres"));
    for mode in ["require", "verify-ca", "verify-full"] {
        is_refused(&world, &format!("{url}?sslmode={mode}"), ABSENT);
    }
    is_refused(
        &world,
        &format!("postgres://postgres@/postgres?hostaddr=127.0.0.1&port={port}&sslmode=require"),
        ABSENT,
    );
    is_listed(&world, &url);
    is_listed(&world, &format!("{url}?sslmode=disable"));
    // Sockets of the machine have none, whatever is said.
    let socket = server.path().display();
    is_listed(&world, &format!("postgres://postgres@/postgres?host={socket}&port={port}&sslmode=require"));
}

async fn mysql(place: Place, port: u16, settings: &[&str]) -> (Server, OptsBuilder) {
    let port = format!("--port={port}");
    let listen = ["--innodb-flush-log-at-trx-commit=0", "--skip-networking=0", "--bind-address=127.0.0.1", &port];
    let server = server::mariadb(place, &[&listen, settings].concat());
    let socket = server.path().join("mysql.sock").display().to_string();
    let opts = OptsBuilder::default().user(Some("root")).socket(Some(socket));
    let mut connection = ready(&server, || Conn::new(opts.clone())).await;
    for statement in ["CREATE DATABASE jobs", "CREATE USER me IDENTIFIED BY 'hidden'", "GRANT ALL ON jobs.* TO me"] {
        connection.query_drop(statement).await.unwrap();
    }
    let opts = opts.db_name(Some("jobs"));
    create(MysqlStore::connect(opts.clone()).await.unwrap()).await;
    (server, opts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mysql_with_tls_is_believed_if_it_is_trusted() {
    let (place, port) = (Place::new(), free_port().unwrap());
    let shown = Shown::new(&place);
    let (certificate, key) = (assign("--ssl-cert", &shown.certificate), assign("--ssl-key", &shown.key));
    let (server, _) = mysql(place, port, &[&certificate, &key, "--require-secure-transport=ON"]).await;
    let (world, url) = (world(&shown), format!("mysql://me:hidden@localhost:{port}/jobs"));

    only_who_is_trusted_is_believed(&world, &format!("{url}?require_ssl=true"));
    is_listed(&world, &format!("{url}?require_ssl=true&verify_ca=false"));
    let unseen = list(&world, &format!("{url}?require_ssl=true&verify_ca=false --ca ca.pem"));
    assert!(unseen.code == 2 && unseen.err.contains("beside `--ca`, found `verify_ca=false`"), "{}", unseen.text());
    let refused = list(&world, &url.replace("me:hidden@", "nobody@"));
    assert_eq!(refused.err.matches("Access denied").count(), 1, "{}", refused.text());
    let elsewhere = url.replace("localhost", "127.0.0.1");
    let elsewhere = format!("{elsewhere}?require_ssl=true&verify_identity=false --ca ca.pem");
    is_refused(&world, &elsewhere, "error: expected a certificate for `127.0.0.1`");
    is_refused(&world, &url, "it may want TLS");
    // Sockets of the machine have none, whatever is said.
    let socket = server.path().join("mysql.sock").display().to_string().replace('/', "%2F");
    is_listed(&world, &format!("mysql://root@localhost/jobs?require_ssl=true&socket={socket}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mysql_without_tls_is_told_from_one_with_it() {
    let port = free_port().unwrap();
    // MySQL would make itself a certificate.
    let _server = mysql(Place::new(), port, &["--loose-auto-generate-certs=OFF"]).await;
    let (world, url) = (World::new(), format!("mysql://me:hidden@localhost:{port}/jobs"));
    is_refused(&world, &format!("{url}?require_ssl=true"), ABSENT);
    is_listed(&world, &url);
}

async fn redis(place: Place, settings: &[&str]) -> Server {
    let server = server::redis(place, &[&["--save", "", "--requirepass", "hidden"], settings].concat());
    let socket = format!("redis+unix://{}?pass=hidden", server.path().join("redis.sock").display());
    let client = redis::Client::open(socket).unwrap();
    drop(ready(&server, || client.get_multiplexed_async_connection()).await);
    create(RedisStore::connect(client, "jobs").await.unwrap()).await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_redis_with_tls_is_believed_if_it_is_trusted() {
    let (place, port) = (Place::new(), free_port().unwrap().to_string());
    let shown = Shown::new(&place);
    let files = [("--tls-cert-file", &shown.certificate), ("--tls-key-file", &shown.key)];
    let files = files.map(|(option, file)| [option.to_owned(), file.display().to_string()]).concat();
    let fixed = ["--tls-port", &port, "--tls-auth-clients", "no"];
    let settings: Vec<&str> = fixed.into_iter().chain(files.iter().map(String::as_str)).collect();
    let _server = redis(place, &settings).await;
    let world = world(&shown);
    let url = format!("rediss://:hidden@localhost:{port}/0#jobs");

    only_who_is_trusted_is_believed(&world, &url);
    is_refused(&world, &url.replace("rediss", "redis"), "it may want TLS");
    let nowhere = list(&world, &format!("{} --ca ca.pem", url.replace("#jobs", "#none")));
    assert!(nowhere.code == 1 && nowhere.err.contains("expected executions in the namespace"), "{}", nowhere.text());
    let cancelled = world.run(&format!("exec cancel last --yes --ca ca.pem --store {url}"));
    assert!(cancelled.code == 0 && cancelled.out.contains("cancelled"), "{}", cancelled.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_redis_without_tls_is_told_from_one_with_it() {
    let port = free_port().unwrap().to_string();
    let _server = redis(Place::new(), &["--port", &port]).await;
    let (world, url) = (World::new(), format!("redis://:hidden@localhost:{port}/0#jobs"));
    is_refused(&world, &url.replace("redis", "rediss"), ABSENT);
    is_listed(&world, &url);
}

#[test]
fn a_ca_is_not_named_where_nobody_would_look_at_it() {
    let world = World::new();
    world.write("ca.pem", ca("another CA").1);
    let demanded = ["postgres://me@localhost/jobs?sslrootcert=ca.pem", "postgres://me@localhost/jobs?sslmode=disable"];
    let others =
        ["postgres://me@localhost", "mysql://me@localhost/jobs", "redis://localhost/0#jobs", "redis+unix:///s#jobs"];
    for url in demanded.into_iter().chain(others) {
        for option in ["--ca ca.pem", "--insecure"] {
            let ran = list(&world, &format!("{url} {option}"));
            assert_eq!(ran.code, 2, "{url}: {}", ran.text());
            let expected = format!("expected a URL that demands TLS beside `{}`", option.split(' ').next().unwrap());
            assert!(ran.err.contains(&expected), "{url}: {}", ran.text());
        }
    }
    let in_url = list(&world, demanded[0]);
    assert!(in_url.code == 2 && in_url.err.contains("beside `sslrootcert`"), "{}", in_url.text());
    assert_eq!(list(&world, "rediss://localhost#jobs --ca ca.pem --insecure").code, 2);
}
