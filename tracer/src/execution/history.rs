//! What an execution remembers of its attempts.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::record::Execution;
use super::timestamp::Timestamp;
use super::worker::WorkerName;
use crate::id::{EnvId, TraceId};

/// How many attempts an execution remembers: the latest.
pub const HISTORY_LEN_MAX: usize = 32;

/// What is longer of a message is cut: each attempt has one, and is written with each change.
const MESSAGE_LEN_MAX: usize = 200;

/// An attempt, as its execution remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Which one, from 1; counted anew when the execution is driven anew, and not counted on if one is given back.
    pub attempt: u32,
    /// Its epoch, which no other has.
    pub epoch: u64,
    /// The worker that claimed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AttemptEnd>,
    /// Why it failed; the message is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Its trace, if it was run in one ([`Lease::trace_id`](super::Lease::trace_id)).
    pub trace_id: TraceId,
    /// The first env of that trace.
    pub env_id: EnvId,
}

/// How an attempt has ended. Lowercase snake case in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptEnd {
    /// With a result.
    Completed,
    /// Without; so has one whose worker was not heard of any more.
    Failed,
    /// It took too long.
    TimedOut,
    /// The execution was called off.
    Cancelled,
    /// It was given back, and does not count.
    Released,
}

impl AttemptEnd {
    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
        }
    }
}

impl Execution {
    /// The attempt has just been counted.
    pub(super) fn remember_begin(&mut self, worker: Option<WorkerName>, now: Timestamp) {
        // Of several that were given back in a row, the last is enough.
        if let [.., one, other] = &self.history[..] {
            let released = Some(AttemptEnd::Released);
            if one.end == released && other.end == released {
                self.history.pop();
            }
        }
        let token = self.token();
        // Most have one attempt.
        self.history.reserve_exact(1);
        self.history.push(AttemptRecord {
            attempt: self.attempts,
            epoch: self.epoch,
            worker,
            started_at: now,
            ended_at: None,
            end: None,
            error: None,
            trace_id: token.trace_id(),
            env_id: token.env_id(),
        });
        let excess = self.history.len().saturating_sub(HISTORY_LEN_MAX);
        self.history.drain(..excess);
    }

    /// It ends; if it failed, by what is the error of the execution now.
    pub(super) fn remember_end(&mut self, how: AttemptEnd, now: Timestamp) {
        // An execution from before there was a history has none.
        let epoch = self.epoch;
        let Some(attempt) = self.history.last_mut().filter(|attempt| attempt.epoch == epoch) else { return };
        (attempt.ended_at, attempt.end) = (Some(now), Some(how));
        if how == AttemptEnd::Failed {
            attempt.error = self.error.as_ref().map(cut);
        }
    }

    /// Whether it remembers the attempt of its epoch: not if that was reserved, and never began.
    pub(super) fn remembers_attempt(&self) -> bool {
        self.history.last().is_some_and(|attempt| attempt.epoch == self.epoch)
    }

    /// Whether the latest attempt is over, and has ended so.
    pub(super) fn has_ended_by(&self, how: AttemptEnd) -> bool {
        self.history.last().is_some_and(|attempt| attempt.epoch == self.epoch && attempt.end == Some(how))
    }
}

fn cut(failure: &Failure) -> Failure {
    let message = failure.message.chars().take(MESSAGE_LEN_MAX).collect();
    Failure { message, ..failure.clone() }
}
