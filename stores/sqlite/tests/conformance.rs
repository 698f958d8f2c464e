//! The contract of stores, all of it.

use tempfile::TempDir;
use tracer::ManualClock;
use tracer_sqlite::{Options, SqliteStore};
use tracer_store_conformance::Kept;

fn new(clock: ManualClock) -> Kept<SqliteStore, TempDir> {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let store = Options::new().clock(clock).open(directory.path().join("executions.db")).expect("it can be opened");
    Kept(store, directory)
}

mod sqlite {
    tracer_store_conformance::store_conformance!(|clock| async { super::new(clock) });
    tracer_store_conformance::store_reserves!(|clock| async { super::new(clock) });
}

/// Failing, and tried again as the contract allows.
mod faulty {
    use tracer_store_conformance::{Faulty, Repeating};
    tracer_store_conformance::store_conformance!(|clock| async { Repeating(Faulty::new(super::new(clock))) });
    tracer_store_conformance::store_reserves!(|clock| async { Repeating(Faulty::new(super::new(clock))) });
}

/// Slowly.
mod slow {
    use tracer_store_conformance::Slow;
    tracer_store_conformance::store_conformance!(|clock| async { Slow::new(super::new(clock)) });
    tracer_store_conformance::store_reserves!(|clock| async { Slow::new(super::new(clock)) });
}
