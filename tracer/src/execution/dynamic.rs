//! A store of a type that is chosen when the program runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Beat, Write};
use super::error::{Refusal, StoreError};
use super::list::{Cursor, ListOptions, Page};
use super::new::Create;
use super::record::{Execution, Lease};
use super::retention::{Deleted, Retention};
use super::store::{Capabilities, Claim, Created, ExecutionStore, Swept};
use super::timestamp::Timestamp;
use crate::id::ExecutionId;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Answer<'a, T> = Boxed<'a, Result<T, StoreError>>;

/// Any store: for a program that is told by its configuration which one. A call costs one allocation more.
///
/// ```
/// use tracer::execution::{DynStore, ExecutionManager, ExecutionStore, MemoryStore};
///
/// let name = "memory";
/// let store = match name {
///     "memory" => DynStore::new(MemoryStore::default()),
///     // "sqlite" => DynStore::new(SqliteStore::open("executions.db")?),
///     other => panic!("no store is called {other}"),
/// };
/// let manager: ExecutionManager<DynStore> = ExecutionManager::new(store);
/// assert_eq!(manager.store().capabilities().name, "memory");
/// ```
#[derive(Clone)]
pub struct DynStore(Arc<dyn AnyStore>);

impl DynStore {
    /// The store, whatever its type.
    pub fn new(store: impl ExecutionStore + 'static) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for DynStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynStore").field(&self.0.capabilities().name).finish()
    }
}

/// [`ExecutionStore`] with futures of one type.
trait AnyStore: Send + Sync {
    fn capabilities(&self) -> Capabilities;
    fn create(&self, new: Vec<Create>) -> Answer<'_, Vec<Created>>;
    fn find_by_id<'a>(&'a self, id: &'a ExecutionId) -> Answer<'a, Option<Execution>>;
    fn find_by_idempotency_key<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Execution>>;
    fn update(&self, writes: Vec<Write>) -> Answer<'_, Vec<Result<Execution, Refusal>>>;
    fn settle(&self, writes: Vec<Write>) -> Answer<'_, Vec<Result<(), Refusal>>>;
    fn list<'a>(&'a self, options: &'a ListOptions) -> Answer<'a, Page>;
    fn delete<'a>(&'a self, id: &'a ExecutionId) -> Answer<'a, Result<(), Refusal>>;
    fn delete_ended<'a>(&'a self, retention: &'a Retention, after: Option<Cursor>, limit: u32) -> Answer<'a, Deleted>;
    fn claim<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Execution>>;
    fn reserve<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Execution>>;
    fn heartbeat<'a>(&'a self, leases: &'a [Lease], extend: Duration) -> Answer<'a, Vec<Beat>>;
    fn sweep(&self, limit: u32) -> Answer<'_, Swept>;
    fn time(&self) -> Answer<'_, Option<Timestamp>>;
    fn wake(&self) -> Boxed<'_, ()>;
}

impl<S: ExecutionStore> AnyStore for S {
    fn capabilities(&self) -> Capabilities {
        ExecutionStore::capabilities(self)
    }

    fn create(&self, new: Vec<Create>) -> Answer<'_, Vec<Created>> {
        Box::pin(ExecutionStore::create(self, new))
    }

    fn find_by_id<'a>(&'a self, id: &'a ExecutionId) -> Answer<'a, Option<Execution>> {
        Box::pin(ExecutionStore::find_by_id(self, id))
    }

    fn find_by_idempotency_key<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Execution>> {
        Box::pin(ExecutionStore::find_by_idempotency_key(self, key))
    }

    fn update(&self, writes: Vec<Write>) -> Answer<'_, Vec<Result<Execution, Refusal>>> {
        Box::pin(ExecutionStore::update(self, writes))
    }

    fn settle(&self, writes: Vec<Write>) -> Answer<'_, Vec<Result<(), Refusal>>> {
        Box::pin(ExecutionStore::settle(self, writes))
    }

    fn list<'a>(&'a self, options: &'a ListOptions) -> Answer<'a, Page> {
        Box::pin(ExecutionStore::list(self, options))
    }

    fn delete<'a>(&'a self, id: &'a ExecutionId) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(ExecutionStore::delete(self, id))
    }

    fn delete_ended<'a>(&'a self, retention: &'a Retention, after: Option<Cursor>, limit: u32) -> Answer<'a, Deleted> {
        Box::pin(ExecutionStore::delete_ended(self, retention, after, limit))
    }

    fn claim<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Execution>> {
        Box::pin(ExecutionStore::claim(self, claim))
    }

    fn reserve<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Vec<Execution>> {
        Box::pin(ExecutionStore::reserve(self, claim))
    }

    fn heartbeat<'a>(&'a self, leases: &'a [Lease], extend: Duration) -> Answer<'a, Vec<Beat>> {
        Box::pin(ExecutionStore::heartbeat(self, leases, extend))
    }

    fn sweep(&self, limit: u32) -> Answer<'_, Swept> {
        Box::pin(ExecutionStore::sweep(self, limit))
    }

    fn time(&self) -> Answer<'_, Option<Timestamp>> {
        Box::pin(ExecutionStore::time(self))
    }

    fn wake(&self) -> Boxed<'_, ()> {
        Box::pin(ExecutionStore::wake(self))
    }
}

impl ExecutionStore for DynStore {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn create(&self, new: Vec<Create>) -> impl Future<Output = Result<Vec<Created>, StoreError>> + Send {
        self.0.create(new)
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.0.find_by_id(id).await
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        self.0.find_by_idempotency_key(key).await
    }

    fn update(
        &self,
        writes: Vec<Write>,
    ) -> impl Future<Output = Result<Vec<Result<Execution, Refusal>>, StoreError>> + Send {
        self.0.update(writes)
    }

    fn settle(&self, writes: Vec<Write>) -> impl Future<Output = Result<Vec<Result<(), Refusal>>, StoreError>> + Send {
        self.0.settle(writes)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        self.0.list(options).await
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        self.0.delete(id).await
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        self.0.delete_ended(retention, after, limit).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.0.claim(claim).await
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.0.reserve(claim).await
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        self.0.heartbeat(leases, extend).await
    }

    fn sweep(&self, limit: u32) -> impl Future<Output = Result<Swept, StoreError>> + Send {
        self.0.sweep(limit)
    }

    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send {
        self.0.time()
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        self.0.wake()
    }
}
