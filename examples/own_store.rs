//! How do I keep executions in something of my own?
//!
//! Six methods, here on a map; managers and workers then run on it. `cargo run -p tracer-examples --example own_store`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use tracer::execution::{
    Execution, ExecutionError, ExecutionId, ExecutionManager, Failure, ListOptions, NewExecution, Page, Simple,
    SimpleStore,
};

#[derive(Default)]
struct Map(Mutex<BTreeMap<ExecutionId, Execution>>);

impl SimpleStore for Map {
    type Error = Infallible;
    const NAME: &'static str = "map";

    async fn create(&self, new: &Execution) -> Result<bool, Infallible> {
        let mut map = self.0.lock().expect("no thread has panicked");
        let has_key = |other: &Execution| new.idempotency_key.is_some() && other.idempotency_key == new.idempotency_key;
        let is_new = !map.contains_key(&new.id) && !map.values().any(has_key);
        if is_new {
            map.insert(new.id, new.clone());
        }
        Ok(is_new)
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, Infallible> {
        Ok(self.0.lock().expect("no thread has panicked").get(id).cloned())
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, Infallible> {
        let map = self.0.lock().expect("no thread has panicked");
        Ok(map.values().find(|found| found.idempotency_key.as_deref() == Some(key)).cloned())
    }

    async fn update(&self, changed: &Execution, version: u64) -> Result<bool, Infallible> {
        let mut map = self.0.lock().expect("no thread has panicked");
        let found = map.get_mut(&changed.id).filter(|found| found.version == version);
        Ok(found.map(|found| *found = changed.clone()).is_some())
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, Infallible> {
        Ok(options.page_of(self.0.lock().expect("no thread has panicked").values().cloned()))
    }

    async fn delete(&self, id: &ExecutionId, version: u64) -> Result<bool, Infallible> {
        let mut map = self.0.lock().expect("no thread has panicked");
        let is_there = map.get(id).is_some_and(|found| found.version == version);
        Ok(is_there && map.remove(id).is_some())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ExecutionError> {
    let manager = ExecutionManager::new(Simple::new(Map::default()));
    let id = manager.create(NewExecution::new("greet").max_attempts(2)).await?.id;
    manager.start(&id).await?;
    println!("{}", manager.fail(&id, Failure::new("nobody there").retryable(true)).await?.status);
    manager.start(&id).await?;
    println!("{}", manager.complete(&id, "hello").await?.status);
    Ok(())
}

// retrying
// completed
