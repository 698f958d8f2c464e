//! An execution as stored and shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::Failure;
use super::history::AttemptRecord;
use super::progress::Progress;
use super::retry::RetryPolicy;
use super::status::ExecutionStatus;
use super::timestamp::{Timestamp, ms};
use super::worker::WorkerName;
use crate::id::{EnvId, ExecutionId, TraceId};
use crate::record::EnvRecord;

/// A unit of work that outlives the process which runs it.
///
/// Only a store makes one, and only [`Write::apply`](super::Write::apply) changes one. JSON is camelCase, instants are
/// RFC 3339, durations are milliseconds, what is absent is left out; readers skip fields that they do not know. A
/// payload or result that is `null` is the same as none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Execution {
    /// Unique in all stores. Never changes.
    pub id: ExecutionId,
    /// What kind of work it is; chosen by the caller. Never changes. In JSON `type`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Where it is in its life.
    pub status: ExecutionStatus,
    /// What the work is done on; the caller's. Never changes.
    #[serde(default)]
    pub payload: Value,
    /// What came out, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why the last attempt that failed did. Cleared by completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// How many attempts were started and not given back, the one under way included; since it was driven anew, if it was.
    pub attempts: u32,
    /// How many attempts there may be. Never changes; at least 1.
    pub max_attempts: u32,
    /// When the store took it in. Never changes.
    pub created_at: Timestamp,
    /// When the store last changed it. Heartbeats are no changes.
    pub updated_at: Timestamp,
    /// When the latest attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it came to an end, whichever; cleared when it is retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// How long one attempt may take. Never changes. In JSON milliseconds.
    #[serde(default, with = "ms::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What makes a second creation find this one. Never changes; unique in a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The execution that this one is a part of; not checked. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<ExecutionId>,
    /// The caller's, and `cancellationReason`.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
    /// What attempts have kept for those after them.
    #[serde(default)]
    pub checkpoints: BTreeMap<String, Value>,
    /// How far the latest attempt has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Which of those that wait goes first: the highest. 0 unless given. Never changes.
    #[serde(default)]
    pub priority: i16,
    /// When it may be claimed, if it waits.
    pub run_at: Timestamp,
    /// How long to wait between attempts. Never changes.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// The wait before the latest retry, which the next one depends on.
    #[serde(default, with = "ms::option", skip_serializing_if = "Option::is_none", rename = "retryDelayMs")]
    pub retry_delay: Option<Duration>,
    /// Whether the holder of the lease was asked to stop.
    #[serde(default)]
    pub cancel_requested: bool,
    /// 1 when created, and one more with each change.
    pub version: u64,
    /// 0 when created, and one more with each attempt that begins: the fencing token.
    pub epoch: u64,
    /// Whether whoever holds the lease has only [reserved](super::Command::Reserve) it: no attempt has begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reserved: bool,
    /// Who runs it, and until when, if it was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseTerms>,
    /// How often it was driven anew, after it had ended without a result.
    #[serde(default)]
    pub redrives: u32,
    /// The latest attempts, at most [`HISTORY_LEN_MAX`](super::HISTORY_LEN_MAX) of them, the oldest first; with those that
    /// were given back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptRecord>,
}

/// Who holds a lease, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseTerms {
    /// The name that the worker gave.
    pub worker: WorkerName,
    /// From then on anybody may take the execution over. Extended by heartbeats.
    pub until: Timestamp,
}

/// The right to write to an execution during one attempt. Whoever has the token has the right, until the next attempt
/// begins: hand it to helpers, or over a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The execution.
    pub id: ExecutionId,
    /// The attempt. Rises with every attempt: other systems can refuse a stale worker by it.
    pub epoch: u64,
}

/// What metadata calls the reason for a cancellation.
pub(super) const CANCELLATION_REASON: &str = "cancellationReason";

impl Lease {
    /// The trace of the attempt, if it is run by [`run_attempt`](super::ExecutionManager::run_attempt) or a worker: known
    /// before it begins, so that the trace of an attempt whose process died is found, too.
    pub fn trace_id(&self) -> TraceId {
        TraceId::odd(self.mixed(TRACE))
    }

    /// The first env of that trace.
    #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
    pub fn env_id(&self) -> EnvId {
        EnvId::odd(self.mixed(ENV) as u64)
    }

    /// Any number, always the same.
    #[expect(clippy::cast_possible_truncation, reason = "some of the bits are enough")]
    pub(super) fn random(&self) -> u32 {
        self.mixed(0) as u32
    }

    /// A number that no other attempt has, for as much as numbers of its size can.
    fn mixed(&self, purpose: u64) -> u128 {
        let high = splitmix((self.id.get() >> 64) as u64 ^ splitmix(self.epoch ^ purpose));
        #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
        let low = splitmix(self.id.get() as u64 ^ splitmix(high));
        (u128::from(high) << 64) | u128::from(low)
    }
}

const TRACE: u64 = 0x7472_6163_6500_0000;
const ENV: u64 = 0x656e_7600_0000_0000;

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): each bit of the number goes into each bit of the answer.
const fn splitmix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What the trace of an attempt says that it is the trace of: the payload of its first env.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptOf {
    /// The execution. In JSON as people see it, `ex_…`.
    #[serde(with = "shown")]
    pub execution: ExecutionId,
    /// Which attempt of it, from 1; of the latest series, if it was driven anew.
    pub attempt: u32,
    /// Its epoch.
    pub epoch: u64,
}

/// Ids with their prefix.
mod shown {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::id::ExecutionId;

    pub(super) fn serialize<S: Serializer>(id: &ExecutionId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExecutionId, D::Error> {
        ExecutionId::deserialize(deserializer)
    }
}

impl AttemptOf {
    /// What the first env of a trace says of its attempt; `None` if the trace is of something else.
    pub fn of(env: &EnvRecord) -> Option<Self> {
        let of: Self = serde_json::from_value(env.payload.clone()).ok()?;
        let token = Lease { id: of.execution, epoch: of.epoch };
        (token.trace_id() == env.trace_id && token.env_id() == env.env_id).then_some(of)
    }

    /// The token of the attempt.
    pub fn token(&self) -> Lease {
        Lease { id: self.execution, epoch: self.epoch }
    }

    /// As it is taken into a trace. Every attempt is: what is the same in all is written here, in `MessagePack`.
    #[expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]
    pub(crate) fn captured(&self) -> [u8; 76] {
        let mut bytes =
            *b"\x83\xa9execution\xd9\x23ex_01234567890123456789012345678901\xa7attempt\xce0123\xa5epoch\xcf01234567";
        bytes[16..48].copy_from_slice(&self.execution.digits());
        bytes[57..61].copy_from_slice(&self.attempt.to_be_bytes());
        bytes[68..].copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }
}

impl Execution {
    /// The attempt under way, or the latest.
    pub fn latest_attempt(&self) -> AttemptOf {
        AttemptOf { execution: self.id, attempt: self.attempts, epoch: self.epoch }
    }

    /// The token for the attempt under way; useful only while it runs.
    pub fn token(&self) -> Lease {
        Lease { id: self.id, epoch: self.epoch }
    }

    /// When the attempt under way has taken longer than it may.
    pub fn deadline(&self) -> Option<Timestamp> {
        match (self.status, self.started_at, self.timeout) {
            (ExecutionStatus::Running, Some(started), Some(timeout)) if !self.reserved => Some(started.after(timeout)),
            _ => None,
        }
    }

    /// When a sweep has to look at it: the end of the lease or of the time allowed, whichever is first.
    pub fn sweep_at(&self) -> Option<Timestamp> {
        let lease = self.lease.as_ref().map(|lease| lease.until);
        match (lease, self.deadline()) {
            (Some(lease), Some(deadline)) => Some(lease.min(deadline)),
            (lease, deadline) => lease.or(deadline),
        }
    }

    /// Whether it may be claimed.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.status.is_waiting() && self.run_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::AnyRandom;
    use crate::values::Captured;

    #[test]
    fn an_attempt_is_taken_into_its_trace_as_it_is_said_in_json() {
        for (attempt, epoch) in [(1, 1), (u32::MAX, u64::MAX)] {
            let of = AttemptOf { execution: ExecutionId::random(&AnyRandom::System), attempt, epoch };
            assert_eq!(Captured::of(of.captured().to_vec(), false).to_json(), serde_json::to_value(&of).unwrap());
        }
    }
}
