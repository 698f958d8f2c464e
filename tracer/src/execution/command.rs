//! What is done to an execution, and what comes of it. Pure: the time and randomness are arguments.
//!
//! Every store applies writes by these functions, inside what makes it atomic there, so that the rules are the same in
//! all of them.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::error::{InvalidInput, Refusal};
use super::failure::Failure;
use super::history::AttemptEnd;
use super::new::{check_depth, check_name, to_value};
use super::progress::Progress;
use super::record::{CANCELLATION_REASON, Execution, Lease, LeaseTerms};
use super::status::{Event, ExecutionStatus};
use super::timestamp::Timestamp;
use super::worker::{WorkerName, check_worker};
use crate::id::ExecutionId;

/// A change to one execution, and what must hold for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Which.
    pub id: ExecutionId,
    /// What must hold.
    pub expected: Expected,
    /// What to do.
    pub command: Command,
}

/// What must hold for a write, besides the state table. The default expects nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// It is at this version.
    pub version: Option<u64>,
    /// The attempt with this epoch is under way.
    pub epoch: Option<u64>,
}

impl From<Lease> for Expected {
    fn from(lease: Lease) -> Self {
        Self { version: None, epoch: Some(lease.epoch) }
    }
}

/// What is done to an execution.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Begins an attempt, whether it is due or not; under a lease, if a worker is named.
    Start {
        /// Who, and for how long.
        holder: Option<(WorkerName, Duration)>,
    },
    /// Keeps it for a worker that may begin an attempt soon: under a lease, and it is running for everybody else. That is no
    /// attempt: none is counted, none is remembered, no time allowed runs. It is one from [`Begin`](Self::Begin) on, or from
    /// whatever else its holder says of it; if it is given back before, or the lease ends, it waits as if nothing had been.
    Reserve {
        /// Who.
        worker: WorkerName,
        /// For how long.
        lease: Duration,
    },
    /// Begins the attempt for which it was reserved.
    Begin,
    /// Ends the attempt with a result.
    Complete {
        /// What came out.
        result: Value,
    },
    /// Ends the attempt without a result.
    Fail {
        /// Why.
        failure: Failure,
        /// Any number, for the wait before the next attempt.
        random: u32,
    },
    /// Calls the execution off: at once, unless a worker holds it. Then the worker is told, and it is the worker's
    /// `Cancel`, or the end of its lease, that ends it.
    Cancel {
        /// Why; kept in the metadata.
        reason: Option<String>,
    },
    /// Asks for another attempt, due at once.
    Retry,
    /// Reports how far the attempt has come.
    Progress(Progress),
    /// Keeps a value for later attempts. The last one under a key stays. It is the only one that changes what is kept, and
    /// none asks what that is: a store need not read it.
    Checkpoint {
        /// Its name.
        key: String,
        /// The value.
        value: Value,
    },
    /// Drives an execution that has ended without a result anew: all attempts are there again, due at once. What it has
    /// kept, its epoch and its history stay.
    Redrive,
    /// Ends the attempt because it takes too long, whether it has a timeout or not. No other follows by itself. What was to
    /// be cancelled is.
    TimeOut,
    /// Ends the attempt because its time is over; another follows, if any is left.
    Overtime {
        /// Any number, for the wait before the next attempt.
        random: u32,
    },
    /// Gives the attempt back, unfinished. It does not count.
    Release {
        /// How long nobody else is to claim it.
        delay: Duration,
    },
}

/// Whether a write that was accepted has changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The version is one higher.
    Changed,
    /// It was so already: the write is the repetition of one whose reply was lost, or asks for what is.
    Unchanged,
}

/// What a holder is told when it extends its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease is extended.
    Held,
    /// The lease is extended, and the holder is asked to stop.
    CancelRequested,
    /// The attempt is over: stop. Nothing was written.
    Lost,
}

/// What the values of commands are called.
const RESULT: &str = "the result";
const CHECKPOINT: &str = "the checkpoint";

impl Command {
    /// [`Complete`](Self::Complete), with anything that is JSON.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`] if the result is no JSON or nested too deeply.
    pub fn complete(result: impl Serialize) -> Result<Self, InvalidInput> {
        Ok(Self::Complete { result: to_value(RESULT, result)? })
    }

    /// [`Checkpoint`](Self::Checkpoint), of anything that is JSON.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`] if the key is no name, or the value is no JSON or nested too deeply.
    pub fn checkpoint(key: &str, value: impl Serialize) -> Result<Self, InvalidInput> {
        check_checkpoint_key(key)?;
        Ok(Self::Checkpoint { key: key.to_owned(), value: to_value(CHECKPOINT, value)? })
    }

    /// Whether what it carries can be read again once it is stored: it may have been made by hand.
    fn check(&self) -> Result<(), InvalidInput> {
        match self {
            Self::Complete { result } => check_depth(RESULT, result),
            Self::Checkpoint { key, value } => {
                check_checkpoint_key(key)?;
                check_depth(CHECKPOINT, value)
            }
            Self::Start { holder: Some((worker, _)) } | Self::Reserve { worker, .. } => check_worker(worker),
            _ => Ok(()),
        }
    }

    /// The verb, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Reserve { .. } => "reserve",
            Self::Begin => "begin",
            Self::Complete { .. } => "complete",
            Self::Fail { .. } => "fail",
            Self::Cancel { .. } => "cancel",
            Self::Retry => "retry",
            Self::Progress(_) => "report progress of",
            Self::Checkpoint { .. } => "keep a checkpoint of",
            Self::Redrive => "redrive",
            Self::TimeOut | Self::Overtime { .. } => "time out",
            Self::Release { .. } => "release",
        }
    }

    /// Whether its repetition is answered as it was even if nothing says that it is one.
    const fn is_repeatable(&self) -> bool {
        matches!(self, Self::Retry | Self::Redrive | Self::Progress(_) | Self::Checkpoint { .. })
    }

    /// Whether only the holder of a lease may do it while there is one.
    const fn is_for_holder(&self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::Complete { .. }
                | Self::Fail { .. }
                | Self::Progress(_)
                | Self::Checkpoint { .. }
                | Self::Overtime { .. }
                | Self::Release { .. }
        )
    }

    /// Whether there has to be an attempt for it: a holder who says that of what he has only reserved has begun one.
    const fn is_of_an_attempt(&self) -> bool {
        matches!(
            self,
            Self::Complete { .. }
                | Self::Fail { .. }
                | Self::Progress(_)
                | Self::Checkpoint { .. }
                | Self::TimeOut
                | Self::Overtime { .. }
        )
    }

    /// Whether `execution` is as this command, sent under the epoch that it still has, must have left it.
    fn has_happened_to(&self, execution: &Execution) -> bool {
        use ExecutionStatus as S;
        match self {
            Self::Complete { result } => {
                execution.status == S::Completed && execution.result.as_ref() == present(result)
            }
            Self::Fail { failure, .. } => {
                matches!(execution.status, S::Failed | S::Retrying | S::Cancelled)
                    && execution.error.as_ref() == Some(&failure.kept())
            }
            Self::Cancel { .. } => execution.status == S::Cancelled,
            // A sweep may have been first, and have counted the attempt: it leaves the same status. Of what was only reserved
            // nothing is remembered, whoever gave it back.
            Self::Release { .. } => {
                execution.has_ended_by(AttemptEnd::Released)
                    || (execution.status == S::Retrying && !execution.remembers_attempt())
            }
            Self::TimeOut | Self::Overtime { .. } => {
                execution.status == S::Cancelled || execution.has_ended_by(AttemptEnd::TimedOut)
            }
            _ => false,
        }
    }
}

fn check_checkpoint_key(key: &str) -> Result<(), InvalidInput> {
    check_name("a checkpoint key", key)
}

/// `null` is the same as nothing: JSON readers cannot tell them apart.
fn present(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null())
}

impl Write {
    /// A write that expects nothing but what the state table says.
    pub fn new(id: ExecutionId, command: Command) -> Self {
        Self { id, expected: Expected::default(), command }
    }

    /// Whether it may be repeated after a lost reply, without reading in between: what is sent under a lease is known to have
    /// happened, and other writes that end something are answered as those that come too late, or end more.
    pub(super) const fn is_repeatable(&self) -> bool {
        self.expected.version.is_none() && (self.expected.epoch.is_some() || self.command.is_repeatable())
    }

    /// A write under a lease.
    pub fn under(lease: Lease, command: Command) -> Self {
        Self { id: lease.id, expected: lease.into(), command }
    }

    /// Applies it to `execution`, which is the one with its id, at `now`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if it is not allowed; then the execution is as it was. What it carries is checked first, then the
    /// lease, then the version, then the state.
    pub fn apply(&self, execution: &mut Execution, now: Timestamp) -> Result<Applied, Refusal> {
        debug_assert_eq!(self.id, execution.id);
        self.command.check()?;
        if let Some(epoch) = self.expected.epoch {
            let is_under_way = execution.status == ExecutionStatus::Running && execution.epoch == epoch;
            if !is_under_way {
                // The lease ends with the write, so its repetition finds none.
                return if execution.epoch == epoch && self.command.has_happened_to(execution) {
                    Ok(Applied::Unchanged)
                } else {
                    Err(Refusal::LeaseLost { expected: epoch, found: execution.epoch, status: execution.status })
                };
            }
        } else if let Some(LeaseTerms { worker, until }) = &execution.lease {
            if self.command.is_for_holder() {
                return Err(Refusal::Held { worker: worker.as_str().into(), until: *until });
            }
        }
        if let Some(expected) = self.expected.version {
            if expected != execution.version {
                return Err(Refusal::VersionConflict { expected, found: execution.version });
            }
        }
        let is_by_holder = self.expected.epoch.is_some();
        let applied = if execution.reserved && is_by_holder && self.command.is_of_an_attempt() {
            let mut begun = execution.clone();
            begun.begin_reserved(now);
            let applied = self.change(&mut begun, now)?;
            *execution = begun;
            applied
        } else {
            self.change(execution, now)?
        };
        if applied == Applied::Changed {
            execution.changed(now);
        }
        Ok(applied)
    }

    fn change(&self, execution: &mut Execution, now: Timestamp) -> Result<Applied, Refusal> {
        let next = |event| {
            let refusal = Refusal::Transition { command: self.command.name(), status: execution.status };
            execution.status.next(event).ok_or(refusal)
        };
        match &self.command {
            Command::Start { holder } => {
                let status = next(Event::Start)?;
                execution.check_attempts()?;
                execution.begin(status, holder.as_ref(), now);
            }
            Command::Reserve { worker, lease } => {
                let status = next(Event::Start)?;
                execution.check_attempts()?;
                execution.reserve(status, worker, *lease, now);
            }
            Command::Begin => {
                self.must_run(execution)?;
                if !execution.reserved {
                    return Ok(Applied::Unchanged);
                }
                execution.begin_reserved(now);
            }
            Command::Complete { result } => {
                execution.end(next(Event::Complete)?, AttemptEnd::Completed, now);
                execution.result = present(result).cloned();
                execution.error = None;
            }
            Command::Fail { failure, random } => {
                let again = failure.retryable && execution.check_attempts().is_ok();
                let event = if execution.cancel_requested { Event::Cancel } else { Event::Fail { again } };
                let status = next(event)?;
                execution.error = Some(failure.kept());
                execution.end(status, AttemptEnd::Failed, now);
                if execution.status == ExecutionStatus::Retrying {
                    execution.wait_for_retry(failure.retry_after, *random, now);
                }
            }
            Command::Cancel { reason } => {
                let status = next(Event::Cancel)?;
                // With what is only reserved, nobody has to stop.
                let is_held = execution.lease.is_some() && !execution.reserved;
                let is_request = is_held && self.expected.epoch.is_none();
                let was_requested = execution.cancel_requested;
                let is_said = reason.is_none() || execution.metadata.contains_key(CANCELLATION_REASON);
                if is_request && was_requested && is_said {
                    return Ok(Applied::Unchanged);
                }
                if is_request {
                    execution.cancel_requested = true;
                } else {
                    execution.end(status, AttemptEnd::Cancelled, now);
                }
                if let Some(reason) = reason.as_ref().filter(|_| !was_requested || !is_said) {
                    execution.metadata.insert(CANCELLATION_REASON.to_owned(), reason.as_str().into());
                }
            }
            Command::Retry => {
                let status = next(Event::Retry)?;
                if status == execution.status {
                    return Ok(Applied::Unchanged);
                }
                execution.check_attempts()?;
                execution.wait_anew(status, now);
            }
            Command::Redrive => {
                let status = next(Event::Retry)?;
                if status == execution.status {
                    return Ok(Applied::Unchanged);
                }
                execution.attempts = 0;
                execution.redrives += 1;
                execution.wait_anew(status, now);
            }
            Command::Progress(progress) => {
                self.must_run(execution)?;
                progress.check(execution.progress.as_ref())?;
                execution.progress = Some(progress.clone());
            }
            Command::Checkpoint { key, value } => {
                self.must_run(execution)?;
                execution.checkpoints.insert(key.clone(), value.clone());
            }
            Command::TimeOut => {
                let event = if execution.cancel_requested { Event::Cancel } else { Event::TimeOut };
                execution.end(next(event)?, AttemptEnd::TimedOut, now);
            }
            Command::Overtime { random } => execution.end_overtime(next(execution.overtime())?, *random, now),
            Command::Release { delay } => {
                let event = if execution.cancel_requested { Event::Cancel } else { Event::Release };
                let (status, was_reserved) = (next(event)?, execution.reserved);
                execution.end(status, AttemptEnd::Released, now);
                if !was_reserved {
                    execution.attempts = execution.attempts.saturating_sub(1);
                }
                if !was_reserved || !delay.is_zero() {
                    execution.run_at = now.after(*delay);
                }
            }
        }
        Ok(Applied::Changed)
    }

    fn must_run(&self, execution: &Execution) -> Result<(), Refusal> {
        match execution.status {
            ExecutionStatus::Running => Ok(()),
            status => Err(Refusal::Transition { command: self.command.name(), status }),
        }
    }
}

impl Execution {
    /// What a sweep does to it at `now`: whether it has changed.
    ///
    /// An attempt that takes too long is timed out, and followed by another after the wait that its policy says, if any is
    /// left. One whose lease is over has failed, counts as an attempt, and is
    /// followed by another at once, if any is left; [`Failure::LEASE_LOST`] says so. One that was only reserved waits again,
    /// as if nothing had been. What was to be cancelled is.
    pub fn sweep(&mut self, now: Timestamp) -> Applied {
        let deadline = self.deadline().is_some_and(|deadline| deadline <= now);
        let lost = self.lease.as_ref().filter(|lease| lease.until <= now).cloned();
        let event = match &lost {
            None if !deadline => return Applied::Unchanged,
            _ if self.cancel_requested => Event::Cancel,
            _ if self.reserved => Event::Release,
            _ if deadline => self.overtime(),
            _ => Event::Fail { again: self.check_attempts().is_ok() },
        };
        let Some(status) = self.status.next(event) else { return Applied::Unchanged };
        match (event, lost) {
            (Event::Fail { again }, Some(lease)) => {
                let message = format!("worker `{}` was not heard of until {}", lease.worker, lease.until);
                self.error = Some(Failure::new(message).code(Failure::LEASE_LOST).retryable(again));
                self.run_at = now;
                self.end(status, AttemptEnd::Failed, now);
            }
            (Event::Cancel, _) => self.end(status, AttemptEnd::Cancelled, now),
            (Event::Release, _) => self.end(status, AttemptEnd::Released, now),
            // Whoever sweeps comes to the same wait.
            _ => self.end_overtime(status, self.token().random(), now),
        }
        self.changed(now);
        Applied::Changed
    }

    /// Extends the lease of the attempt `epoch` until `extend` after `now`. That is no change of the execution: the
    /// version stays.
    pub fn renew(&mut self, epoch: u64, extend: Duration, now: Timestamp) -> Beat {
        match &mut self.lease {
            Some(lease) if self.epoch == epoch => {
                lease.until = now.after(extend);
                if self.cancel_requested { Beat::CancelRequested } else { Beat::Held }
            }
            _ => Beat::Lost,
        }
    }

    /// Whether it may be deleted: not while an attempt is under way.
    ///
    /// # Errors
    ///
    /// [`Refusal::Transition`] if it is running.
    pub fn check_delete(&self) -> Result<(), Refusal> {
        match self.status {
            ExecutionStatus::Running => Err(Refusal::Transition { command: "delete", status: self.status }),
            _ => Ok(()),
        }
    }

    fn changed(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }

    fn check_attempts(&self) -> Result<(), Refusal> {
        if self.attempts < self.max_attempts {
            return Ok(());
        }
        Err(Refusal::MaxRetriesExceeded { attempts: self.attempts, max_attempts: self.max_attempts })
    }

    fn begin(&mut self, status: ExecutionStatus, holder: Option<&(WorkerName, Duration)>, now: Timestamp) {
        self.status = status;
        self.epoch += 1;
        self.lease = holder.map(|(worker, lease)| LeaseTerms { worker: worker.clone(), until: now.after(*lease) });
        self.count_attempt(now);
    }

    fn reserve(&mut self, status: ExecutionStatus, worker: &WorkerName, lease: Duration, now: Timestamp) {
        self.status = status;
        self.epoch += 1;
        self.lease = Some(LeaseTerms { worker: worker.clone(), until: now.after(lease) });
        self.reserved = true;
    }

    fn begin_reserved(&mut self, now: Timestamp) {
        self.reserved = false;
        self.count_attempt(now);
    }

    fn count_attempt(&mut self, now: Timestamp) {
        self.attempts += 1;
        self.started_at = Some(now);
        self.progress = None;
        self.remember_begin(self.lease.as_ref().map(|lease| lease.worker.clone()), now);
    }

    /// What it means that the time of the attempt is over.
    fn overtime(&self) -> Event {
        match (self.cancel_requested, self.check_attempts()) {
            (true, _) => Event::Cancel,
            (false, Ok(())) => Event::Overtime,
            (false, Err(_)) => Event::TimeOut,
        }
    }

    fn end_overtime(&mut self, status: ExecutionStatus, random: u32, now: Timestamp) {
        if status == ExecutionStatus::Retrying {
            let took = self.started_at.map(|started| now.since(started)).unwrap_or_default();
            let message = format!("the attempt was not done after {} ms", took.as_millis());
            self.error = Some(Failure::new(message).code(Failure::TIMED_OUT).retryable(true));
        }
        self.end(status, AttemptEnd::TimedOut, now);
        if status == ExecutionStatus::Retrying {
            self.wait_for_retry(None, random, now);
        }
    }

    /// Waits for an attempt that is due at once.
    fn wait_anew(&mut self, status: ExecutionStatus, now: Timestamp) {
        self.status = status;
        self.completed_at = None;
        (self.run_at, self.retry_delay) = (now, None);
    }

    /// The end of an attempt, or of waiting for one.
    fn end(&mut self, status: ExecutionStatus, how: AttemptEnd, now: Timestamp) {
        if self.status == ExecutionStatus::Running {
            let is_cancelled = status == ExecutionStatus::Cancelled;
            self.remember_end(if is_cancelled { AttemptEnd::Cancelled } else { how }, now);
        }
        self.status = status;
        (self.lease, self.reserved) = (None, false);
        self.cancel_requested = false;
        self.completed_at = status.is_terminal().then_some(now);
    }

    fn wait_for_retry(&mut self, retry_after: Option<Duration>, random: u32, now: Timestamp) {
        let delay = self.retry.delay(self.attempts, self.retry_delay, random);
        self.retry_delay = Some(delay);
        self.run_at = now.after(delay.max(retry_after.unwrap_or_default()));
    }
}
