//! What a handler knows of the attempt that it is, and can write to it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracer::execution::{
    Command, Execution, ExecutionError, ExecutionManager, ExecutionStore, InvalidInput, Lease, Progress,
};

use crate::signal::{Signal, Told};

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One attempt at an execution, as its handler has it. Clones are the same attempt: give them to helpers.
#[derive(Clone)]
pub struct Attempt(Arc<Inner>);

struct Inner {
    execution: Execution,
    told: Told,
    writes: Arc<dyn Writes>,
}

/// Whoever tells an attempt what to do. Without it there is nobody who could: it is told that it is lost, for what is left
/// of it waits for that.
pub(crate) struct Teller(Attempt);

/// The store, whatever it is.
pub(crate) trait Writes: Send + Sync {
    fn keep(&self, lease: Lease, key: String, value: Value) -> Boxed<Result<(), ExecutionError>>;
    fn progress(&self, lease: Lease, progress: Progress) -> Boxed<Result<(), ExecutionError>>;
}

impl<S: ExecutionStore + Clone + 'static> Writes for ExecutionManager<S> {
    fn keep(&self, lease: Lease, key: String, value: Value) -> Boxed<Result<(), ExecutionError>> {
        let manager = self.clone();
        Box::pin(async move {
            let command = Command::checkpoint(&key, value)?;
            manager.under(&lease).settle(&lease.id, command).await
        })
    }

    fn progress(&self, lease: Lease, progress: Progress) -> Boxed<Result<(), ExecutionError>> {
        let manager = self.clone();
        Box::pin(async move { manager.under(&lease).settle(&lease.id, Command::Progress(progress)).await })
    }
}

impl Teller {
    pub(crate) fn tell(&self, signal: Signal) {
        self.0.told().tell(signal);
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.0
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell(Signal::Lost);
    }
}

impl Attempt {
    pub(crate) fn new(execution: Execution, writes: Arc<dyn Writes>) -> (Self, Teller) {
        let attempt = Self(Arc::new(Inner { execution, told: Told::default(), writes }));
        (attempt.clone(), Teller(attempt))
    }

    pub(crate) fn told(&self) -> &Told {
        &self.0.told
    }

    /// The execution, as it was when the attempt began.
    pub fn execution(&self) -> &Execution {
        &self.0.execution
    }

    /// The right to write. Its epoch rises with each attempt: other systems can refuse what a stale worker asks by it.
    pub fn lease(&self) -> Lease {
        self.0.execution.token()
    }

    /// What an attempt before this one kept under this key, if it can be read as a `T`.
    pub fn kept<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_value(self.0.execution.checkpoints.get(key)?.clone()).ok()
    }

    /// Keeps a value for later attempts, and gives it back.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::checkpoint`]; `LEASE_LOST` means that another attempt has begun: return.
    pub async fn keep<T: Serialize>(&self, key: &str, value: T) -> Result<T, ExecutionError> {
        let json = serde_json::to_value(&value)
            .map_err(|error| InvalidInput::NoJson { what: "the checkpoint", problem: error.to_string().into() })?;
        self.0.writes.keep(self.lease(), key.to_owned(), json).await?;
        Ok(value)
    }

    /// Reports how far it has come.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::update_progress`].
    pub async fn progress(&self, progress: Progress) -> Result<(), ExecutionError> {
        self.0.writes.progress(self.lease(), progress).await
    }

    /// Whether it is to stop: somebody has cancelled the execution, or the worker is shutting down, or the lease is lost, or
    /// the attempt is over.
    pub fn is_cancelled(&self) -> bool {
        self.told().last() != Signal::Go
    }

    /// Waits until it is to stop. What the handler returns then still counts, if it returns soon.
    pub async fn cancelled(&self) {
        self.told().wait_for(|signal| signal != Signal::Go).await;
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("lease", &self.lease())
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
