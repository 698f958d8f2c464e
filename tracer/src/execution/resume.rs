//! Attempts that run in a trace of their own, and what nodes with `checkpoint` keep in them.
//!
//! A node finds the attempt that it is in by its trace, so it needs no argument, and whatever takes the trace along takes
//! the attempt along. What it keeps lies under its name and its structural key, which is the same in the next attempt.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::Command;
use super::error::{ExecutionError, ExecutionErrorKind};
use super::manager::ExecutionManager;
use super::new::to_value;
use super::record::{Execution, Lease};
use super::store::ExecutionStore;
use crate::lines::{self, Branch};
use crate::site::Site;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One attempt, as the nodes in it see it.
pub(crate) struct Attempt<K: ?Sized = dyn Keep> {
    lease: Lease,
    /// What attempts before it have kept.
    kept: BTreeMap<String, Value>,
    end: Mutex<End>,
    store: K,
}

/// Who writes what nodes keep in an attempt. An [`ExecutionManager`] does it by one call of its store, which it does not
/// repeat; a worker by as many as it takes.
pub trait Keep: Send + Sync {
    /// Does this under the lease: keeps a checkpoint, as far as nodes are concerned. An error ends the attempt.
    fn write(&self, lease: Lease, command: Command) -> Boxed<Result<(), ExecutionError>>;
}

/// Why an attempt cannot go on, and who is to be told.
#[derive(Default)]
struct End {
    why: Option<ExecutionError>,
    waker: Option<Waker>,
}

/// What lies under the key of a node.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kept {
    /// The attempt with this epoch was about to run it.
    Started(u64),
    /// What it has returned.
    Value(Value),
}

impl<S: ExecutionStore + Clone + 'static> Keep for ExecutionManager<S> {
    fn write(&self, lease: Lease, command: Command) -> Boxed<Result<(), ExecutionError>> {
        let manager = self.clone();
        Box::pin(async move { manager.under(&lease).settle(&lease.id, command).await })
    }
}

impl<K: Keep + ?Sized> Keep for Arc<K> {
    fn write(&self, lease: Lease, command: Command) -> Boxed<Result<(), ExecutionError>> {
        (**self).write(lease, command)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl<K> Attempt<K> {
    fn new(execution: &Execution, store: K) -> Self {
        Self { lease: execution.token(), kept: execution.checkpoints.clone(), end: Mutex::default(), store }
    }
}

impl Attempt {
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempt cannot go on: the first reason stays.
    fn stop(&self, why: ExecutionError) {
        let mut end = self.end();
        end.why.get_or_insert(why);
        let waker = end.waker.take();
        drop(end);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// [`ExecutionManager::run_attempt`], where somebody else writes what nodes keep.
///
/// # Errors
///
/// As there, and what `keep` says.
pub async fn run_attempt<F: Future>(
    keep: impl Keep + 'static,
    execution: &Execution,
    work: impl FnOnce() -> F,
) -> Result<F::Output, ExecutionError> {
    let attempt: Arc<Attempt> = Arc::new(Attempt::new(execution, keep));
    let line = lines::attempt::begin(execution, &attempt);
    let line =
        line.ok_or_else(|| ExecutionError::new(Some(execution.id), ExecutionErrorKind::NotTraced { node: "" }))?;
    let mut future = pin!(Branch::along(async { work().await }, line));
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        let why = {
            let mut end = attempt.end();
            if end.why.is_none() && polled.is_pending() {
                end.waker = Some(cx.waker().clone());
            }
            end.why.take()
        };
        // Not under the lock: what is dropped then is the user's, and may end the attempt, too.
        match why {
            Some(why) => Poll::Ready(Err(why)),
            None => polled.map(Ok),
        }
    })
    .await
}

/// What becomes of a node that was started and has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It runs again.
    AtLeastOnce,
    /// It does not, and the attempt fails.
    AtMostOnce,
}

/// How the output of a node is kept and made again.
pub struct Codec<R> {
    /// The value to keep; `None`: it is not kept.
    write: fn(&R) -> Option<Result<Value, ExecutionError>>,
    read: fn(Value) -> Option<R>,
}

impl<R> fmt::Debug for Codec<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// Every value is kept.
    pub(crate) fn of_value() -> Self {
        Self { write: |value| Some(written(value)), read }
    }
}

impl<T: Serialize + DeserializeOwned, E> Codec<Result<T, E>> {
    /// The success is kept, an error is not.
    pub(crate) fn of_success() -> Self {
        Self { write: |result| result.as_ref().ok().map(written), read: |value| read(value).map(Ok) }
    }
}

fn written(value: &impl Serialize) -> Result<Value, ExecutionError> {
    to_value("the result of a node", value).map_err(ExecutionError::from)
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// Runs `future`, the body of the node `site`, unless an attempt before has kept its result. Outside of attempts it is
/// the future itself.
pub async fn checkpointed<F: Future>(
    site: &'static Site,
    repeat: Repeat,
    codec: Codec<F::Output>,
    future: F,
) -> F::Output {
    let Some((attempt, key)) = lines::attempt::here(site) else { return future.await };
    let node = site.node;
    let Some(key) = key else { return stopped(&attempt, ExecutionErrorKind::NotTraced { node }).await };
    let key = format!("{node}@{key:016x}");
    if let Some(kept) = attempt.kept.get(&key).filter(|kept| !kept.is_null()).cloned() {
        let why = match read(kept) {
            Some(Kept::Value(value)) => match (codec.read)(value) {
                Some(output) => return output,
                None => ExecutionErrorKind::NotReadable { node },
            },
            Some(Kept::Started(epoch)) => ExecutionErrorKind::NotRepeated { node, epoch },
            None => ExecutionErrorKind::NotReadable { node },
        };
        // What cannot be read, as from another version of the program, is as good as none; but says that something was.
        if repeat == Repeat::AtMostOnce {
            return stopped(&attempt, why).await;
        }
    }
    if repeat == Repeat::AtMostOnce {
        keep(&attempt, &key, Kept::Started(attempt.lease.epoch)).await;
    }
    let output = future.await;
    match (codec.write)(&output) {
        Some(Ok(value)) => keep(&attempt, &key, Kept::Value(value)).await,
        Some(Err(error)) => return stopped(&attempt, error).await,
        None => {}
    }
    output
}

async fn keep(attempt: &Attempt, key: &str, kept: Kept) {
    let checkpoint = Command::checkpoint(key, kept);
    let kept = match checkpoint.map_err(|error| ExecutionError::invalid(Some(attempt.lease.id), error)) {
        Ok(checkpoint) => attempt.store.write(attempt.lease, checkpoint).await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        stopped::<()>(attempt, error).await;
    }
}

/// Ends the attempt: the calling future is dropped with it.
async fn stopped<R>(attempt: &Attempt, why: impl Into<Stop>) -> R {
    let Stop(why) = why.into();
    attempt.stop(match why {
        Ok(error) => error,
        Err(kind) => ExecutionError::new(Some(attempt.lease.id), kind),
    });
    std::future::pending().await
}

struct Stop(Result<ExecutionError, ExecutionErrorKind>);

impl From<ExecutionError> for Stop {
    fn from(error: ExecutionError) -> Self {
        Self(Ok(error))
    }
}

impl From<ExecutionErrorKind> for Stop {
    fn from(kind: ExecutionErrorKind) -> Self {
        Self(Err(kind))
    }
}
