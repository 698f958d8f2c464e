//! The store in memory, what wraps it, and a store of six methods.

/// As it is.
mod memory {
    use tracer::execution::MemoryStore;
    tracer_store_conformance::store_conformance!(|clock| async move { MemoryStore::with_clock(clock) });
    tracer_store_conformance::store_reserves!(|clock| async move { MemoryStore::with_clock(clock) });
}

/// Slowly.
mod slow {
    use tracer::execution::MemoryStore;
    use tracer_store_conformance::Slow;
    tracer_store_conformance::store_conformance!(|clock| async move { Slow::new(MemoryStore::with_clock(clock)) });
    tracer_store_conformance::store_reserves!(|clock| async move { Slow::new(MemoryStore::with_clock(clock)) });
}

/// Failing, and tried again as the contract allows.
mod faulty {
    use tracer::execution::MemoryStore;
    use tracer_store_conformance::{Faulty, Repeating};
    tracer_store_conformance::store_conformance!(|clock| async move {
        Repeating(Faulty::new(MemoryStore::with_clock(clock)))
    });
    tracer_store_conformance::store_reserves!(
        |clock| async move { Repeating(Faulty::new(MemoryStore::with_clock(clock))) }
    );
}

/// Of a type that is chosen when the program runs.
mod dynamic {
    use tracer::execution::{DynStore, MemoryStore};
    tracer_store_conformance::store_conformance!(|clock| async move { DynStore::new(MemoryStore::with_clock(clock)) });
    tracer_store_conformance::store_reserves!(|clock| async move { DynStore::new(MemoryStore::with_clock(clock)) });
}

/// A store that has no more than six methods.
mod simple {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::sync::Mutex;

    use tracer::execution::{Execution, ExecutionId, ListOptions, Page, Simple, SimpleStore};

    #[derive(Default)]
    pub(super) struct Map(Mutex<BTreeMap<ExecutionId, Execution>>);

    impl SimpleStore for Map {
        type Error = Infallible;
        const NAME: &'static str = "map";

        async fn create(&self, new: &Execution) -> Result<bool, Infallible> {
            let mut map = self.0.lock().unwrap();
            let key = &new.idempotency_key;
            let is_new = !map.contains_key(&new.id)
                && (key.is_none() || map.values().all(|other| other.idempotency_key != *key));
            if is_new {
                map.insert(new.id, new.clone());
            }
            Ok(is_new)
        }

        async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, Infallible> {
            let found = self.0.lock().unwrap().get(id).cloned();
            // Others are to write between a reading and what comes of it.
            tokio::task::yield_now().await;
            Ok(found)
        }

        async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, Infallible> {
            let map = self.0.lock().unwrap();
            Ok(map.values().find(|found| found.idempotency_key.as_deref() == Some(key)).cloned())
        }

        async fn update(&self, changed: &Execution, version: u64) -> Result<bool, Infallible> {
            let mut map = self.0.lock().unwrap();
            let found = map.get_mut(&changed.id).filter(|found| found.version == version);
            Ok(found.map(|found| *found = changed.clone()).is_some())
        }

        async fn list(&self, options: &ListOptions) -> Result<Page, Infallible> {
            let page = options.page_of(self.0.lock().unwrap().values().cloned());
            tokio::task::yield_now().await;
            Ok(page)
        }

        async fn delete(&self, id: &ExecutionId, version: u64) -> Result<bool, Infallible> {
            let mut map = self.0.lock().unwrap();
            let is_there = map.get(id).is_some_and(|found| found.version == version);
            Ok(is_there && map.remove(id).is_some())
        }
    }

    tracer_store_conformance::store_conformance!(|clock| async move { Simple::with_clock(Map::default(), clock) });
    tracer_store_conformance::store_reserves!(|clock| async move { Simple::with_clock(Map::default(), clock) });
}

/// Such a store, slowly.
mod simple_slow {
    use tracer::execution::Simple;
    use tracer_store_conformance::Slow;

    use super::simple::Map;
    tracer_store_conformance::store_conformance!(|clock| async move {
        Slow::new(Simple::with_clock(Map::default(), clock))
    });
    tracer_store_conformance::store_reserves!(
        |clock| async move { Slow::new(Simple::with_clock(Map::default(), clock)) }
    );
}

/// Such a store, failing, and tried again as the contract allows.
mod simple_faulty {
    use tracer::execution::Simple;
    use tracer_store_conformance::{Faulty, Repeating};

    use super::simple::Map;
    tracer_store_conformance::store_conformance!(|clock| async move {
        Repeating(Faulty::new(Simple::with_clock(Map::default(), clock)))
    });
    tracer_store_conformance::store_reserves!(|clock| async move {
        Repeating(Faulty::new(Simple::with_clock(Map::default(), clock)))
    });
}
