//! The store in memory, and what wraps it.

/// As it is.
mod memory {
    use tracer::execution::MemoryStore;
    tracer_store_conformance::store_conformance!(|clock| async move { MemoryStore::with_clock(clock) });
}

/// Slowly.
mod slow {
    use tracer::execution::MemoryStore;
    use tracer_store_conformance::Slow;
    tracer_store_conformance::store_conformance!(|clock| async move { Slow::new(MemoryStore::with_clock(clock)) });
}

/// Failing, and tried again as the contract allows.
mod faulty {
    use tracer::execution::MemoryStore;
    use tracer_store_conformance::{Faulty, Repeating};
    tracer_store_conformance::store_conformance!(|clock| async move {
        Repeating(Faulty::new(MemoryStore::with_clock(clock)))
    });
}
