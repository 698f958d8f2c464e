//! What a case runs on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tracer::ManualClock;
use tracer::execution::{Claim, Execution, ExecutionManager, ExecutionStore, NewExecution};

/// How long leases are here.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A store, and the clock by which it tells the time.
pub(crate) struct Bed<S> {
    pub(crate) manager: ExecutionManager<Arc<S>>,
    pub(crate) clock: ManualClock,
}

impl<S> Clone for Bed<S> {
    fn clone(&self) -> Self {
        Self { manager: self.manager.clone(), clock: self.clock.clone() }
    }
}

impl<S: ExecutionStore + 'static> Bed<S> {
    pub(crate) async fn new<F: Future<Output = S>>(setup: &impl Fn(ManualClock) -> F) -> Self {
        // Some day in 2026, with no round number of seconds.
        let clock = ManualClock::new(Duration::from_millis(1_790_000_000_123));
        let store = Arc::new(setup(clock.clone()).await);
        Self { manager: ExecutionManager::new(store), clock }
    }

    pub(crate) fn store(&self) -> &S {
        self.manager.store()
    }

    /// Creates one of type `work`.
    pub(crate) async fn create(&self) -> Execution {
        self.create_with(|new| new).await
    }

    /// Creates one of type `work`, with something set.
    pub(crate) async fn create_with(&self, set: impl FnOnce(NewExecution) -> NewExecution) -> Execution {
        self.manager.create(set(NewExecution::new("work"))).await.expect("it is created")
    }

    /// Creates one that is claimed, with something set.
    pub(crate) async fn claimed_with(&self, set: impl FnOnce(NewExecution) -> NewExecution) -> Execution {
        let id = self.create_with(set).await.id;
        self.claim_this(&id).await
    }

    pub(crate) async fn claim_this(&self, id: &tracer::execution::ExecutionId) -> Execution {
        let claimed = self.manager.claim_by_id(id, "worker", LEASE).await.expect("the store answers");
        claimed.expect("it is due")
    }

    /// Claims some of any type.
    pub(crate) async fn claim(&self, limit: u32) -> Vec<Execution> {
        self.manager.claim(claim_of(&[], limit)).await.expect("the store answers")
    }

    pub(crate) async fn get(&self, id: &tracer::execution::ExecutionId) -> Execution {
        self.manager.get(id).await.expect("it is there")
    }

    /// Runs `count` tasks at once, and gives what each came to.
    pub(crate) async fn at_once<T, F>(&self, count: usize, task: impl Fn(Self, usize) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // None begins before all are there.
        let barrier = Arc::new(tokio::sync::Barrier::new(count));
        let start = |number| {
            let (barrier, work) = (barrier.clone(), task(self.clone(), number));
            tokio::spawn(async move {
                barrier.wait().await;
                work.await
            })
        };
        let tasks: Vec<_> = (0..count).map(start).collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.expect("no task panics"));
        }
        results
    }
}

/// Some of these types, of any if there are none.
pub(crate) fn claim_of(types: &[&str], limit: u32) -> Claim {
    let types = types.iter().map(|&type_| type_.to_owned()).collect();
    Claim { types, only: None, limit, worker: "worker".to_owned(), lease: LEASE }
}

/// Runs one case.
pub(crate) fn run<S, F, C>(setup: impl Fn(ManualClock) -> F, case: impl FnOnce(Bed<S>) -> C)
where
    S: ExecutionStore + 'static,
    F: Future<Output = S>,
    C: Future<Output = ()>,
{
    runtime().block_on(async move { case(Bed::new(&setup).await).await });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // `enable_all`: stores of others may want sockets and timers; the cases do not.
    builder.worker_threads(4).enable_all().build().expect("there are threads")
}

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// How many cases were skipped in this process, because the store does not claim what they need.
pub fn skipped() -> u32 {
    SKIPPED.load(Ordering::Relaxed)
}

/// Says that a case, or a part of it, is skipped.
pub(crate) fn skip(store: &str, why: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    eprintln!("skipped ({count} so far): store {store} {why}");
}
