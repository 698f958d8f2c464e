//! How random tests run: so many cases, and what once failed first.

use proptest::test_runner::{Config, FileFailurePersistence};

/// `cases` new ones, after those in `proptest-regressions/<name>.txt`.
pub fn config(cases: u32, name: &str) -> Config {
    let path = format!("{}/proptest-regressions/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct(path.leak())) as _);
    Config { cases, failure_persistence, ..Config::default() }
}
