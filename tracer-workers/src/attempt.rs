//! What a handler knows of the attempt that it is, and can write to it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracer::execution::{Command, Execution, ExecutionError, Keep, Lease, Progress};

use crate::signal::{Signal, Told};

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One attempt at an execution, as its handler has it. Clones are the same attempt: give them to helpers.
#[derive(Clone)]
pub struct Attempt(Arc<Inner>);

struct Inner {
    execution: Execution,
    told: Told,
    writes: Arc<dyn Keep>,
}

/// Whoever tells an attempt what to do. Without it there is nobody who could: it is told that it is lost, for what is left
/// of it waits for that.
pub(crate) struct Teller(Attempt);

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
    pub(crate) fn new(execution: Execution, writes: Arc<dyn Keep>) -> (Self, Teller) {
        let attempt = Self(Arc::new(Inner { execution, told: Told::default(), writes }));
        (attempt.clone(), Teller(attempt))
    }

    pub(crate) fn told(&self) -> &Told {
        &self.0.told
    }

    pub(crate) fn writes(&self) -> Arc<dyn Keep> {
        self.0.writes.clone()
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

    /// Keeps a value for later attempts, and gives it back. It is tried again while the store does not answer, for as long as
    /// the lease.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::checkpoint`]; `LEASE_LOST` means that another attempt has begun: return. By `?` it becomes a
    /// failure with its code, which may be retried if the same call may succeed later ([`ExecutionError::failure`]).
    ///
    /// [`ExecutionManager::checkpoint`]: tracer::execution::ExecutionManager::checkpoint
    pub async fn keep<T: Serialize>(&self, key: &str, value: T) -> Result<T, ExecutionError> {
        self.0.writes.write(self.lease(), Command::checkpoint(key, &value)?).await?;
        Ok(value)
    }

    /// Reports how far it has come. It is tried again while the store does not answer, for as long as the lease.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::update_progress`].
    ///
    /// [`ExecutionManager::update_progress`]: tracer::execution::ExecutionManager::update_progress
    pub async fn progress(&self, progress: Progress) -> Result<(), ExecutionError> {
        self.0.writes.write(self.lease(), Command::Progress(progress)).await
    }

    /// Whether it is to stop: somebody has cancelled the execution, or the worker is shutting down, or the lease is lost, or
    /// the attempt is over.
    pub fn is_cancelled(&self) -> bool {
        self.told().hear() != Signal::Go
    }

    /// Whether it is to stop because the worker is shutting down, and not because it is cancelled, or lost: the work is to go
    /// on elsewhere.
    pub fn is_shutting_down(&self) -> bool {
        matches!(self.told().hear(), Signal::ShutDown | Signal::GiveBack)
    }

    /// Waits until it is to stop: it hears of a cancellation within three seconds. What the handler returns then still counts, if it returns soon. When the worker is
    /// [shutting down](Self::is_shutting_down), an error that may be retried, of a handler that has heard of it, gives the
    /// attempt back: another worker takes the execution up at once, and the attempt does not count. So keep how far it has
    /// come, and return one. One that says when to [try again](tracer::execution::Failure::retry_after) counts.
    pub async fn cancelled(&self) {
        self.told().more_than(Signal::Go).await;
        self.told().hear();
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("lease", &self.lease())
            .field("is_cancelled", &(self.told().last() != Signal::Go))
            .finish_non_exhaustive()
    }
}
