//! Runs the tests that await.

use std::time::Duration;

/// Longer than any of them takes: what a broken store would wait for is not waited for.
const MAX: Duration = Duration::from_secs(120);

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(MAX, test).await.expect("no test waits for ever") })
}
