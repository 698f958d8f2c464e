//! A store whose calls all end, so that one which is never answered does not hold up a worker for ever.

use std::future::Future;
use std::time::Duration;

use tracer::execution::{
    Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStore, Lease,
    ListOptions, Page, Refusal, Retention, StoreError, Swept, Timestamp, Trouble, Write, Written,
};

/// Longer than a store takes that answers at all: those of this project give up before, unless told to be more patient.
const CALL_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Bounded<S>(pub(crate) S);

impl<S: ExecutionStore> Bounded<S> {
    async fn within<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(CALL_MAX, call).await.unwrap_or_else(|_| {
            let store = self.0.capabilities().name;
            let source = format!("expected an answer within {CALL_MAX:?}, found none").into();
            Err(StoreError { store, operation, trouble: Trouble::Unavailable, written: Written::Unknown, source })
        })
    }
}

impl<S: ExecutionStore> ExecutionStore for Bounded<S> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        self.within("create executions", self.0.create(new)).await
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.within("read an execution", self.0.find_by_id(id)).await
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        self.within("read an execution", self.0.find_by_idempotency_key(key)).await
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        self.within("update executions", self.0.update(writes)).await
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.within("update executions", self.0.settle(writes)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        self.within("list executions", self.0.list(options)).await
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        self.within("delete an execution", self.0.delete(id)).await
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        self.within("delete what has ended", self.0.delete_ended(retention, after, limit)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.within("claim executions", self.0.claim(claim)).await
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.within("reserve executions", self.0.reserve(claim)).await
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        self.within("extend leases", self.0.heartbeat(leases, extend)).await
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        self.within("sweep", self.0.sweep(limit)).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.within("tell the time", self.0.time()).await
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        self.0.wake()
    }
}
