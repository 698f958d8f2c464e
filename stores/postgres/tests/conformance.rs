//! The contract of stores, all of it, on a PostgreSQL that these tests start.

mod server;

use std::sync::atomic::{AtomicU32, Ordering};

use tracer::ManualClock;
use tracer_postgres::PostgresStore;
use tracer_store_conformance::{Faulty, Repeating, Slow};

/// A schema of its own for each: that is quicker than a database.
async fn new(clock: ManualClock) -> PostgresStore {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let schema = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let config = server::config(&schema).await;
    let store = PostgresStore::connect(config, tokio_postgres::NoTls).await.expect("the server answers");
    store.with_clock(clock)
}

mod postgres {
    tracer_store_conformance::store_conformance!(super::new);
    tracer_store_conformance::store_reserves!(super::new);
}

/// Failing, and tried again as the contract allows.
mod faulty {
    use super::{Faulty, Repeating};
    tracer_store_conformance::store_conformance!(|clock| async { Repeating(Faulty::new(super::new(clock).await)) });
    tracer_store_conformance::store_reserves!(|clock| async { Repeating(Faulty::new(super::new(clock).await)) });
}

/// Slowly.
mod slow {
    use super::Slow;
    tracer_store_conformance::store_conformance!(|clock| async { Slow::new(super::new(clock).await) });
    tracer_store_conformance::store_reserves!(|clock| async { Slow::new(super::new(clock).await) });
}
