//! A store that writes down what it answers; broken in a way that is wanted, if one is.

use std::borrow::Cow;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::RwLock;
use tracer::execution::{
    Beat, Capabilities, Claim, Command, Create, Created, Cursor, Deleted, DynStore, Execution, ExecutionId,
    ExecutionStore, Expected, Lease, ListOptions, Page, Refusal, Retention, StoreError, Swept, Timestamp, Write,
};

use crate::history::{Fact, Log, Moment, now};
use crate::work::LEASE;

/// How a store, or in one case a worker, can be broken, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Who has lost the lease may write all the same. So that somebody does, calls stall until the leases are another's,
    /// who keeps them for a while.
    Fence,
    /// Nobody looks for lost leases.
    Sweep,
    /// That a node is about to run is not kept before it does. So that a death meets one that has run, it takes a while
    /// to keep its result.
    Started,
    /// What the end of an attempt is answered is not true: some were not written.
    Acknowledged,
    /// Results of nodes are not kept.
    Kept,
    /// What is only to be reserved begins at once.
    Reserved,
    /// However many with one key run at once.
    Crowded,
    /// Whoever asks for longer leases is told that they are, and they are not.
    NoBeat,
    /// Leases are much shorter than whoever claims is to believe.
    Early,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "fence" => Self::Fence,
            "sweep" => Self::Sweep,
            "started" => Self::Started,
            "acknowledged" => Self::Acknowledged,
            "kept" => Self::Kept,
            "reserved" => Self::Reserved,
            "crowded" => Self::Crowded,
            "nobeat" => Self::NoBeat,
            "early" => Self::Early,
            other => return Err(format!("no fault `{other}`")),
        })
    }
}

/// How long what matters is held up in a broken store, for chance to meet it: the beginning of whoever takes over from
/// another, if there is to be somebody who writes meanwhile, and the results of nodes, if a worker is to die before.
const HELD: Duration = Duration::from_millis(300);
/// How long leases are that are too short.
const EARLY: Duration = Duration::from_millis(30);

/// See the module.
#[derive(Debug, Clone)]
pub struct Recorded {
    inner: DynStore,
    log: Log,
    fault: Option<Fault>,
    stall: Arc<RwLock<()>>,
}

impl Recorded {
    /// Around this one.
    pub fn new(inner: DynStore, log: Log, fault: Option<Fault>) -> Self {
        Self { inner, log, fault, stall: Arc::default() }
    }

    pub(crate) fn is_broken(&self, how: Fault) -> bool {
        self.fault == Some(how)
    }

    async fn stall(&self, writes: &[Write]) {
        if self.fault == Some(Fault::Started) && writes.iter().any(|write| kept(&write.command).is_some()) {
            tokio::time::sleep(HELD).await;
        }
        if self.fault == Some(Fault::Fence) && fastrand::u8(..) < 4 {
            let _stalled = self.stall.write().await;
            let until_it_is = async {
                while !self.is_of_another(writes).await {
                    tokio::time::sleep(HELD / 10).await;
                }
            };
            // Nobody may take over what has ended meanwhile.
            let _ = tokio::time::timeout(3 * LEASE, until_it_is).await;
        }
    }

    /// Whether somebody else works at one of these.
    async fn is_of_another(&self, writes: &[Write]) -> bool {
        for write in writes {
            if let Ok(Some(found)) = self.inner.find_by_id(&write.id).await
                && found.lease.is_some()
                && write.expected.epoch.is_some_and(|epoch| epoch < found.epoch)
            {
                return true;
            }
        }
        false
    }

    /// What is about to be written that matters even if no answer comes.
    fn announce(&self, from: Moment, writes: &[Write]) {
        let announced = |write: &Write| {
            let (id, epoch) = (write.id, write.expected.epoch?);
            let goes_on = matches!(write.command, Command::Checkpoint { .. } | Command::Progress(_));
            (!goes_on).then(|| Fact::Writing { id, epoch, command: write.command.name().to_owned() })
        };
        let facts: Vec<Fact> = writes.iter().filter_map(announced).collect();
        if !facts.is_empty() {
            self.log.write(from, facts);
        }
    }

    /// What the store is asked for when this is.
    fn claim_of<'a>(&self, claim: &'a Claim) -> Cow<'a, Claim> {
        match self.fault {
            Some(Fault::Early) => Cow::Owned(Claim { lease: EARLY, ..claim.clone() }),
            _ => Cow::Borrowed(claim),
        }
    }

    /// A broken store writes something else, and answers by itself: `None`.
    async fn broken(&self, write: &Write) -> Option<Write> {
        match (self.fault, &write.command) {
            (Some(Fault::Fence), command) if write.expected.epoch.is_some() => {
                let found = self.inner.find_by_id(&write.id).await.ok().flatten()?;
                let epoch = found.lease.is_some().then_some(found.epoch).or(write.expected.epoch);
                Some(Write { id: write.id, expected: Expected { version: None, epoch }, command: command.clone() })
            }
            (Some(Fault::Started), Command::Checkpoint { value, .. }) if is_started(value) => None,
            (Some(Fault::Kept), Command::Checkpoint { value, .. }) if !is_started(value) => None,
            (Some(Fault::Acknowledged), Command::Complete { .. }) if fastrand::u8(..) < 16 => None,
            _ => Some(write.clone()),
        }
    }

    fn tell_claimed(&self, from: Moment, claimed: &[Execution]) {
        let fact = |claimed: &Execution| {
            let Execution { id, epoch, attempts, version, .. } = *claimed;
            Fact::Claimed { id, epoch, attempts, version }
        };
        if !claimed.is_empty() {
            self.log.write(from, claimed.iter().map(fact));
        }
    }

    fn tell<'a>(
        &self,
        from: Moment,
        writes: &[Write],
        outcomes: impl Iterator<Item = Result<Option<u64>, &'a Refusal>>,
    ) {
        let facts = writes.iter().zip(outcomes).map(|(write, outcome)| {
            let (id, epoch, command) = (write.id, write.expected.epoch, write.command.name().to_owned());
            match outcome {
                Ok(version) => Fact::Accepted { id, epoch, command, version, kept: kept(&write.command) },
                Err(refusal) => Fact::Refused { id, epoch, command, why: refusal.to_string() },
            }
        });
        self.log.write(from, facts);
    }
}

/// What a node that is about to run keeps.
fn is_started(value: &Value) -> bool {
    value.get("started").is_some()
}

/// The node whose result this keeps.
fn kept(command: &Command) -> Option<String> {
    let Command::Checkpoint { key, value } = command else { return None };
    let node = key.split_once('@')?.0;
    value.get("value").is_some().then(|| node.to_owned())
}

impl ExecutionStore for Recorded {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn create(&self, new: Vec<Create>) -> impl Future<Output = Result<Vec<Created>, StoreError>> + Send {
        self.inner.create(new)
    }

    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send {
        self.inner.time()
    }

    fn find_by_id(&self, id: &ExecutionId) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send {
        self.inner.find_by_id(id)
    }

    fn find_by_idempotency_key(&self, key: &str) -> impl Future<Output = Result<Option<Execution>, StoreError>> + Send {
        self.inner.find_by_idempotency_key(key)
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        let mut outcomes = Vec::new();
        // Workers update one at a time.
        for write in writes {
            let from = now();
            self.announce(from, std::slice::from_ref(&write));
            let outcome = match self.broken(&write).await {
                Some(other) => self.inner.update(vec![other]).await?.swap_remove(0),
                None => self.inner.find_by_id(&write.id).await?.ok_or(Refusal::NotFound),
            };
            // What was not written has no version of its own.
            let version = |done: &Execution| self.fault.is_none().then_some(done.version);
            self.tell(from, &[write], [outcome.as_ref().map(version)].into_iter());
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.stall(&writes).await;
        let from = now();
        self.announce(from, &writes);
        let outcomes = if self.fault.is_none() {
            self.inner.settle(writes.clone()).await?
        } else {
            let mut outcomes = Vec::new();
            for write in &writes {
                outcomes.push(match self.broken(write).await {
                    Some(other) => self.inner.settle(vec![other]).await?.swap_remove(0),
                    None => Ok(()),
                });
            }
            outcomes
        };
        self.tell(from, &writes, outcomes.iter().map(|outcome| outcome.as_ref().map(|()| None)));
        Ok(outcomes)
    }

    fn list(&self, options: &ListOptions) -> impl Future<Output = Result<Page, StoreError>> + Send {
        self.inner.list(options)
    }

    fn delete(&self, id: &ExecutionId) -> impl Future<Output = Result<Result<(), Refusal>, StoreError>> + Send {
        self.inner.delete(id)
    }

    fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> impl Future<Output = Result<Deleted, StoreError>> + Send {
        self.inner.delete_ended(retention, after, limit)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        let from = now();
        let claimed = self.inner.claim(&self.claim_of(claim)).await?;
        self.tell_claimed(from, &claimed);
        if self.fault == Some(Fault::Fence) && claimed.iter().any(|claimed| claimed.epoch > 1) {
            tokio::time::sleep(HELD).await;
        }
        Ok(claimed)
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        let from = now();
        let reserved = match self.fault {
            Some(Fault::Reserved) => self.inner.claim(claim).await?,
            _ => self.inner.reserve(&self.claim_of(claim)).await?,
        };
        self.tell_claimed(from, &reserved);
        Ok(reserved)
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        drop(self.stall.read().await);
        let from = now();
        self.log.write(from, leases.iter().map(|&Lease { id, epoch }| Fact::Extending { id, epoch }));
        let beats = match self.fault {
            Some(Fault::NoBeat) => vec![Beat::Held; leases.len()],
            _ => self.inner.heartbeat(leases, extend).await?,
        };
        let extended =
            |(&Lease { id, epoch }, beat): (&Lease, &Beat)| Fact::Extended { id, epoch, is_held: *beat != Beat::Lost };
        self.log.write(from, leases.iter().zip(&beats).map(extended));
        Ok(beats)
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        if self.fault == Some(Fault::Sweep) {
            return Ok(Swept::default());
        }
        self.inner.sweep(limit).await
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        self.inner.wake()
    }
}
