//! How tables come to be there.

mod server;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::time::{sleep, timeout};
use tracer::execution::Written;
use tracer_mysql::MysqlStore;
use tracer_store_conformance::{Proxy, Target, Weather};

/// Longer than any test takes: what a broken store would wait for is not waited for.
const TEST_MAX: Duration = Duration::from_secs(120);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async { timeout(TEST_MAX, test).await.expect("no test waits for ever") })
}

#[test]
fn many_may_begin_at_once_and_newer_tables_are_left_alone() {
    run(async {
        let opts = server::opts("migrations").await;
        let connecting: Vec<_> = (0..8).map(|_| tokio::spawn(MysqlStore::connect(opts.clone()))).collect();
        for connected in connecting {
            connected.await.unwrap().unwrap();
        }
        let mut other = Conn::new(opts.clone()).await.unwrap();
        for version in [99, -1] {
            other.query_drop(format!("UPDATE tracer_schema SET version = {version}")).await.unwrap();
            let error = MysqlStore::connect(opts.clone()).await.unwrap_err();
            assert_eq!((error.code(), error.written), ("SCHEMA", Written::Nothing));
            let text = format!("expected version 5 or older, found {version}: update this program");
            assert_eq!(error.source.to_string(), text);
        }
        // A process that died between making a table and counting that.
        other.query_drop("DELETE FROM tracer_schema").await.unwrap();
        MysqlStore::connect(opts).await.unwrap();
    });
}

/// Somebody may never give a lock back, and a server may fall silent.
#[test]
fn tables_are_made_or_given_up_in_time() {
    run(async {
        let opts = server::opts("given_up").await;
        MysqlStore::connect(opts.clone()).await.unwrap();
        let proxy = Proxy::to(Target::Socket(opts.socket().unwrap().into())).await.unwrap();
        let through = OptsBuilder::from_opts(opts.clone()).socket::<String>(None).prefer_socket(false);
        let through: Opts = through.ip_or_hostname("127.0.0.1").tcp_port(proxy.port()).into();
        let mut other = Conn::new(opts.clone()).await.unwrap();
        let mut watch = Conn::new(opts.clone()).await.unwrap();
        for is_silent in [false, true] {
            other.query_drop("LOCK TABLES tracer_schema WRITE").await.unwrap();
            let connecting = tokio::spawn(timeout(Duration::from_secs(20), MysqlStore::connect(through.clone())));
            let waiting = "SELECT count(*) FROM information_schema.processlist
                           WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock%'";
            while watch.query_first(waiting).await.unwrap() != Some(1) {
                sleep(Duration::from_millis(10)).await;
            }
            if is_silent {
                proxy.weather(Weather::AnswersKept);
                other.query_drop("UNLOCK TABLES").await.unwrap();
            }
            let error = connecting.await.unwrap().expect("it gives up").unwrap_err();
            let told = (error.operation, error.code(), error.is_retryable(), error.written);
            assert_eq!(told, ("prepare the tables", "STORE", true, Written::Nothing));
            assert_eq!(error.source.to_string(), "no answer came in time");
            other.query_drop("UNLOCK TABLES").await.unwrap();
        }
        MysqlStore::connect(opts).await.unwrap();
    });
}
