//! Stores of one's own, of which single operations fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::{Instant, sleep};
use tracer::execution::{
    Execution, ExecutionId, ExecutionManager, ExecutionStatus as S, Failure, ListOptions, Page, Simple, SimpleStore,
};
use tracer_workers::{Attempt, Worker};

use crate::{LEASE, SECOND, TokioClock, ended, new, run};

/// Every tenth change fails, and changes nothing.
#[derive(Default)]
struct Tenth {
    all: Mutex<BTreeMap<ExecutionId, Execution>>,
    changes: AtomicU32,
}

impl SimpleStore for Tenth {
    type Error = &'static str;
    const NAME: &'static str = "tenth";

    async fn create(&self, execution: &Execution) -> Result<bool, &'static str> {
        self.all.lock().unwrap().insert(execution.id, execution.clone());
        Ok(true)
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, &'static str> {
        Ok(self.all.lock().unwrap().get(id).cloned())
    }

    async fn find_by_idempotency_key(&self, _: &str) -> Result<Option<Execution>, &'static str> {
        Ok(None)
    }

    async fn update(&self, execution: &Execution, version: u64) -> Result<bool, &'static str> {
        if self.changes.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            return Err("the tenth");
        }
        let mut all = self.all.lock().unwrap();
        let is_so = all.get(&execution.id).is_some_and(|one| one.version == version);
        if is_so {
            all.insert(execution.id, execution.clone());
        }
        Ok(is_so)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, &'static str> {
        Ok(options.page_of(self.all.lock().unwrap().values().cloned()))
    }

    async fn delete(&self, _: &ExecutionId, _: u64) -> Result<bool, &'static str> {
        Ok(false)
    }
}

#[test]
fn single_operations_that_fail_cost_no_attempt_of_the_others() {
    run(async {
        let store = Arc::new(Simple::with_clock(Tenth::default(), TokioClock(Instant::now())));
        let manager = ExecutionManager::new(store);
        let short = manager.create_all((0..100).map(|_| new(false))).await.unwrap();
        let long = manager.create_all((0..16).map(|_| new(true))).await.unwrap();
        let ids: Vec<_> = short.into_iter().chain(long).map(|created| created.unwrap().id).collect();
        let handle = |_: Attempt, long: bool| async move {
            sleep(if long { LEASE * 10 } else { SECOND }).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).concurrency(16).handler("work", handle).start();
        for id in &ids {
            let done = ended(&manager, id).await;
            assert_eq!((done.status, done.attempts), (S::Completed, 1), "{done:?}");
        }
        worker.shutdown(SECOND).await;
    });
}
