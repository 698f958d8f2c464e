//! What a store has to be able to do. The documentation of [`ExecutionStore`] is the contract.

use std::future::Future;
use std::time::Duration;

use super::command::{Beat, Command, Write};
use super::error::{InvalidInput, Refusal, StoreError, Trouble, Written};
use super::list::{Cursor, ListOptions, Page};
use super::new::Create;
use super::record::{Execution, Lease};
use super::retention::{Deleted, Retention};
use super::timestamp::{Timestamp, millis};
use super::worker::check_worker;
use crate::id::ExecutionId;

/// Keeps executions. This is the contract; the crate `tracer-store-conformance` tests all of it.
///
/// # One write
///
/// A write is atomic: it finds the execution, applies it ([`Write::apply`], [`Execution::sweep`],
/// [`Execution::renew`]) and keeps what came out, with nothing in between. A store decides nothing about the rules; it
/// makes their application atomic. A write that is refused changes nothing at all; one that carries what could not be read
/// again is refused by the rules, whoever made it.
///
/// # A batch
///
/// Methods that take many take them in order, as if one after the other: the answer number *i* belongs to the element
/// number *i*, and the second write to an execution sees the first. Whether the elements of a batch become visible
/// together is left open, as is, if the store fails with [`Written::Unknown`](super::Written::Unknown), which of them
/// were written. An empty batch is answered without asking anybody.
///
/// # A race
///
/// Of two that write at once, one is first, and the other one is answered as if it had come later: with
/// [`Refusal::Transition`] after somebody else's end, [`Refusal::LeaseLost`] after another attempt has begun,
/// [`Refusal::VersionConflict`] if a version was expected. Of two creations with one idempotency key, one is
/// [`Created::New`] and the other [`Created::Existing`], with the same execution. An execution is claimed by one.
///
/// # Repetition
///
/// After a lost reply these can be repeated, and nothing is done twice: reads, a creation (by its id), the end of an
/// attempt under its lease, heartbeats, sweeps, deletions of what has ended, checkpoints, and a claim, if whoever lost it
/// can wait for its lease to end. A start, an end or a cancellation without a lease and a write that expects a version
/// cannot: the answer to the repetition is that of a lost race, and a failure that was to be retried is final if it is told
/// again. Read instead.
///
/// # Order
///
/// Claims take the highest priority first, then the earliest `run_at`, then the earliest creation, then the lowest id;
/// under concurrency as well as can be seen. Lists are ordered by creation, then id.
///
/// # Time
///
/// All instants are those of one clock, the store's ([`time`](Self::time)), and of one execution they never fall: where the
/// clock does, as a server's may whose time is set or whose place another takes, its latest change is the time. Leases and
/// waits then last that much longer. Callers send durations. Nothing depends on the clocks of workers, unless the store has
/// none of its own and says so, as `tracer-dynamodb` does.
///
/// # Reading
///
/// A write that was answered is seen by every later [`find_by_id`](Self::find_by_id),
/// [`find_by_idempotency_key`](Self::find_by_idempotency_key), write and claim, by whomever; by
/// [`list`](Self::list) too, if the store claims [`Capabilities::consistent_list`].
///
/// # What survives what
///
/// What was acknowledged survives what [`Capabilities::survives`] says. A write whose future is dropped is done whole or
/// not at all.
///
/// # Failure
///
/// A [`StoreError`] says whether anything was written and whether the call may be repeated. What cannot be read because
/// it was written by somebody else ([`Trouble::Corrupt`](super::Trouble::Corrupt)) does not keep the store from
/// serving the others. A list names it beside them ([`Page::unreadable`]), if at least its id can be read, and it may be
/// [deleted](Self::delete).
pub trait ExecutionStore: Send + Sync {
    /// What it can do besides.
    fn capabilities(&self) -> Capabilities;

    /// Takes new executions in, as [`Create::at`] makes them of the store's time. If there is one with the same
    /// idempotency key, or with the same id, that one is the answer, untouched.
    fn create(&self, new: Vec<Create>) -> impl Future<Output = Result<Vec<Created>, StoreError>> + Send;

    /// The execution with this id.
    fn find_by_id(&self, id: &ExecutionId) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send;

    /// The execution that was created with this key.
    fn find_by_idempotency_key(&self, key: &str) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send;

    /// Applies writes. The answer is the execution as it is then, or why it was refused.
    fn update(
        &self,
        writes: Vec<Write>,
    ) -> impl Future<Output = Result<Vec<Result<Execution, Refusal>>, StoreError>> + Send;

    /// Applies writes whose outcome nobody wants to see, only whether they were refused: those with which workers end
    /// attempts, and keep checkpoints in them. Otherwise as [`update`](Self::update), by which it is provided; a store
    /// overrides it where it can save something: what it does not read, for instance, because no answer shows it.
    fn settle(&self, writes: Vec<Write>) -> impl Future<Output = Result<Vec<Result<(), Refusal>>, StoreError>> + Send {
        async move {
            let outcomes = self.update(writes).await?;
            Ok(outcomes.into_iter().map(|outcome| outcome.map(drop)).collect())
        }
    }

    /// The executions that match, a page of them.
    fn list(&self, options: &ListOptions) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Deletes an execution, if [`Execution::check_delete`] allows it. Its idempotency key is free again. Deleting what
    /// is not there is [`Refusal::NotFound`].
    fn delete(&self, id: &ExecutionId) -> impl Future<Output = Result<Result<(), Refusal>, StoreError>> + Send;

    /// Looks at up to `limit` executions (at least one, and fewer if they are much), in the order of their creation, from
    /// behind `after` on, and deletes those that [`Retention::is_over`] for, as [`delete`](Self::delete) does. Each is
    /// deleted only if it is as it was when that was found: one that is driven anew meanwhile stays.
    ///
    /// [`Deleted::next`] goes on behind all that it has looked at, whether there is more or not; it is `None` once there is
    /// nothing left that was [created long enough ago](Retention::created_before). What costs is what is looked at, not what
    /// there is besides. What cannot be read is counted, and left alone. A store whose lists lag behind may overlook what
    /// they do not show yet.
    fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> impl Future<Output = Result<Deleted, StoreError>> + Send;

    /// Starts up to `limit` executions that are due, each under a lease, in order. Fewer than there are may be found
    /// while others claim; none is found only if none is due or all that are due are being claimed by others. What
    /// [`Claim::check_for`] refuses begins nothing.
    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Vec<Execution>, StoreError>> + Send;

    /// Likewise, but only [reserves](super::Command::Reserve) them: an attempt begins with [`Begin`](super::Command::Begin). A
    /// store that cannot do that claims them instead, which is how it is provided: then an attempt counts from here on, and its
    /// time allowed runs, though it may have to wait in a worker before it begins.
    fn reserve(&self, claim: &Claim) -> impl Future<Output = Result<Vec<Execution>, StoreError>> + Send {
        self.claim(claim)
    }

    /// Extends leases until `extend` from now. A store that has no other condition for a write than the version may count
    /// that as a change of it.
    fn heartbeat(
        &self,
        leases: &[Lease],
        extend: Duration,
    ) -> impl Future<Output = Result<Vec<Beat>, StoreError>> + Send;

    /// Deals with up to `limit` leases and times allowed that are over ([`Execution::sweep`]), the earliest first.
    /// Anybody may call it, at any time; two that do so at once do nothing twice.
    fn sweep(&self, limit: u32) -> impl Future<Output = Result<Swept, StoreError>> + Send;

    /// The time by which leases, delays and time allowed are counted; `None` if the store does not tell: then it is that of
    /// whoever asks.
    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Ready once something may have become due since it was called, of any type: so that a worker need not ask again and
    /// again. A hint: it may come for nothing, or never, as it does unless a store has something better. What becomes due by
    /// the passing of time is not announced.
    fn wake(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// A shared store is a store.
impl<S: ExecutionStore> ExecutionStore for std::sync::Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn create(&self, new: Vec<Create>) -> impl Future<Output = Result<Vec<Created>, StoreError>> + Send {
        (**self).create(new)
    }

    fn find_by_id(&self, id: &ExecutionId) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send {
        (**self).find_by_id(id)
    }

    fn find_by_idempotency_key(&self, key: &str) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send {
        (**self).find_by_idempotency_key(key)
    }

    fn update(
        &self,
        writes: Vec<Write>,
    ) -> impl Future<Output = Result<Vec<Result<Execution, Refusal>>, StoreError>> + Send {
        (**self).update(writes)
    }

    fn settle(&self, writes: Vec<Write>) -> impl Future<Output = Result<Vec<Result<(), Refusal>>, StoreError>> + Send {
        (**self).settle(writes)
    }

    fn list(&self, options: &ListOptions) -> impl Future<Output = Result<Page, StoreError>> + Send {
        (**self).list(options)
    }

    fn delete(&self, id: &ExecutionId) -> impl Future<Output = Result<Result<(), Refusal>, StoreError>> + Send {
        (**self).delete(id)
    }

    fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> impl Future<Output = Result<Deleted, StoreError>> + Send {
        (**self).delete_ended(retention, after, limit)
    }

    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Vec<Execution>, StoreError>> + Send {
        (**self).claim(claim)
    }

    fn reserve(&self, claim: &Claim) -> impl Future<Output = Result<Vec<Execution>, StoreError>> + Send {
        (**self).reserve(claim)
    }

    fn heartbeat(
        &self,
        leases: &[Lease],
        extend: Duration,
    ) -> impl Future<Output = Result<Vec<Beat>, StoreError>> + Send {
        (**self).heartbeat(leases, extend)
    }

    fn sweep(&self, limit: u32) -> impl Future<Output = Result<Swept, StoreError>> + Send {
        (**self).sweep(limit)
    }

    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send {
        (**self).time()
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        (**self).wake()
    }
}

/// How a creation went.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It is there now.
    New(Execution),
    /// One with its key or id was there before.
    Existing(Execution),
}

impl Created {
    /// The execution, either way.
    pub fn into_execution(self) -> Execution {
        match self {
            Self::New(execution) | Self::Existing(execution) => execution,
        }
    }
}

/// What a worker wants to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Of these types; of any, if there are none.
    pub types: Vec<String>,
    /// Only this one.
    pub only: Option<ExecutionId>,
    /// How many at most.
    pub limit: u32,
    /// Who asks.
    pub worker: String,
    /// How long nobody else is to take them over.
    pub lease: Duration,
}

impl Claim {
    /// Whether executions of this type are wanted.
    pub fn wants(&self, type_: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == type_)
    }

    /// What a claim does to each.
    pub fn start(&self) -> Command {
        Command::Start { holder: Some((self.worker.as_str().into(), self.lease)) }
    }

    /// What a reservation does to each.
    pub fn reservation(&self) -> Command {
        Command::Reserve { worker: self.worker.as_str().into(), lease: self.lease }
    }

    pub(super) fn check(&self) -> Result<(), InvalidInput> {
        check_worker(&self.worker)?;
        if millis(self.lease) == 0 { Err(InvalidInput::NoTime) } else { Ok(()) }
    }

    /// For stores, before they claim: whether the worker has a name and the lease a length, which all that is claimed would
    /// have to be read with.
    ///
    /// # Errors
    ///
    /// One of this store, which refuses it.
    pub fn check_for(&self, store: &impl ExecutionStore) -> Result<(), StoreError> {
        self.check().map_err(|error| StoreError {
            store: store.capabilities().name,
            operation: "claim executions",
            trouble: Trouble::Refused,
            written: Written::Nothing,
            source: error.into(),
        })
    }
}

/// What a sweep has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Attempts that were lost or took too long, and will be followed by another.
    pub retried: u32,
    /// Attempts that were lost, and were the last.
    pub failed: u32,
    /// Attempts that took too long, and were the last.
    pub timed_out: u32,
    /// Attempts that were to be cancelled, and whose holder did not do it.
    pub cancelled: u32,
    /// How long until the next lease or time allowed is over, as things stand; zero if the limit was reached.
    pub next_due: Option<Duration>,
}

impl Swept {
    /// Counts an execution that was changed by a sweep.
    pub fn count(&mut self, execution: &Execution) {
        use super::ExecutionStatus as S;
        match execution.status {
            S::Retrying => self.retried += 1,
            S::TimedOut => self.timed_out += 1,
            S::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
    }

    /// How many executions were changed.
    pub fn total(&self) -> u32 {
        self.retried + self.failed + self.timed_out + self.cancelled
    }
}

/// What a store can do beyond what every store can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name, for messages.
    pub name: &'static str,
    /// Whether a list shows every write that was answered before.
    pub consistent_list: bool,
    /// What an acknowledged write outlives.
    pub survives: Survives,
    /// The largest payload, result or checkpoint, in bytes of JSON; more is [`TooLarge`](super::Trouble::TooLarge).
    pub value_len_bytes_max: Option<u64>,
}

/// What an acknowledged write outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    /// Nothing: it is gone with the process.
    Nothing,
    /// The death of the process that wrote it.
    Kill,
    /// The loss of power, as far as the disk says the truth.
    PowerLoss,
}
