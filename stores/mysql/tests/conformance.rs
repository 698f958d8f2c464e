//! The contract of stores, all of it, on a MariaDB that these tests start.

mod server;

use std::sync::atomic::{AtomicU32, Ordering};

use tracer::ManualClock;
use tracer_mysql::MysqlStore;
use tracer_store_conformance::{Faulty, Repeating, Slow};

/// A database of its own for each.
async fn new(clock: ManualClock) -> MysqlStore {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let database = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let store = MysqlStore::connect(server::opts(&database).await).await.expect("the server answers");
    store.with_clock(clock)
}

mod mysql {
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
