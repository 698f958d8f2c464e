//! Records as they are stored and read: the shape of one JSON line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{EnvId, FrameId, TraceId};
use crate::status::Status;

/// The version of the JSON shape. Readers skip fields they do not know; a number that rises means that a field they
/// know has changed.
pub const SCHEMA: u32 = 1;

/// An env, a step or a note.
///
/// A file of JSON lines may have lines of other types, which readers skip: `tracer recover --out` writes those that its
/// help describes, on processes and on how their traces stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// A line of calls begins.
    Env(EnvRecord),
    /// A node begins or ends.
    Step(StepRecord),
    /// Something worth knowing that is no step.
    Note(NoteRecord),
}

/// The beginning of an env: its step 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnvRecord {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub env_id: EnvId,
    /// Always 0.
    pub step_id: u64,
    /// Orders the records of a process; see [`Record::seq`].
    pub seq: u64,
    /// Unix time in nanoseconds; a text in JSON.
    #[serde(with = "text_u64")]
    pub ts: u64,
    /// What started the trace.
    pub source: String,
    /// What it was started with.
    #[serde(default)]
    pub payload: Value,
    /// Why there is an env of its own.
    pub cause: Cause,
    /// The env that it left, unless it is the first of its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_env: Option<EnvId>,
    /// The last step of that env when it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_step: Option<u64>,
    /// Part of the payload was left out for its size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Why an env was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cause {
    /// The first env of a trace.
    Root,
    /// Asked for: `fork`, `branch`, `carry`. Or the process was forked, and the env goes on in the child.
    Fork,
    /// The caller was not the innermost open frame of its env (`join!`, `select!`, …).
    Overlap,
    /// The node was already open in the caller's env (recursion).
    Reentry,
    /// The error that ended the caller's env was handled.
    Recovery,
    /// The frame that called had ended.
    Detached,
}

impl Cause {
    pub(crate) const ALL: [Self; 6] =
        [Self::Root, Self::Fork, Self::Overlap, Self::Reentry, Self::Recovery, Self::Detached];
}

/// One step of an env.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepRecord {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The env it belongs to.
    pub env_id: EnvId,
    /// 1, 2, 3 … without a gap in its env.
    pub step_id: u64,
    /// Orders the records of a process; see [`Record::seq`].
    pub seq: u64,
    /// Unix time in nanoseconds; a text in JSON.
    #[serde(with = "text_u64")]
    pub ts: u64,
    /// The node.
    pub node: String,
    /// What happened to it.
    pub status: Status,
    /// What the manual API gave with the step.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub meta: Value,
    /// The run of the traced function; absent on manual steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameId>,
    /// The frame that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<FrameId>,
    /// The structural key: `parent key / node # occurrence`, counted per parent and node as the function was called.
    /// Equal in two runs for the same call, whatever the interleaving. A key longer than 200 bytes has its beginning
    /// replaced by `~` and a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An enter that goes on with a frame that was open when an error ended its env.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Where the function is written: on every error step of a traced function, as `file:line (module)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How it failed: on every error step of a traced function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorRecord>,
    /// Recorded arguments (on enter) or the recorded result (on exit, as `ret`).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub values: Value,
    /// Part of `meta` or `values` was left out for its size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// How a traced function failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorRecord {
    /// In which of the ways.
    pub kind: ErrorKind,
    /// The name of the error's type.
    #[serde(rename = "type", default)]
    pub type_name: String,
    /// Its text, where it has one.
    #[serde(default)]
    pub message: Option<String>,
    /// The texts of its sources, nearest first.
    #[serde(default)]
    pub chain: Vec<String>,
}

/// The ways in which a traced function fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ErrorKind {
    /// It returned an error.
    Err,
    /// It panicked.
    Panic,
    /// Its future was dropped after the first poll.
    Cancelled,
}

/// Something that is no step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NoteRecord {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The env it belongs to.
    pub env_id: EnvId,
    /// The last step of the env when it was written.
    pub step_id: u64,
    /// Orders the records of a process; see [`Record::seq`].
    pub seq: u64,
    /// Unix time in nanoseconds; a text in JSON.
    #[serde(with = "text_u64")]
    pub ts: u64,
    /// What it says.
    pub note: Note,
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Note {
    /// A frame ended because the error that ended its env went on through it.
    Unwound {
        /// The frame.
        frame: FrameId,
        /// Its node.
        node: String,
        /// How it ended.
        error: ErrorKind,
    },
    /// A node came after one that the declared flow does not let it follow.
    FlowViolation {
        /// The flow.
        flow: String,
        /// The node before, unless there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The node that was entered.
        to: String,
    },
}

impl Record {
    /// The trace it belongs to.
    pub fn trace_id(&self) -> TraceId {
        match self {
            Self::Env(env) => env.trace_id,
            Self::Step(step) => step.trace_id,
            Self::Note(note) => note.trace_id,
        }
    }

    /// The env it belongs to.
    pub fn env_id(&self) -> EnvId {
        match self {
            Self::Env(env) => env.env_id,
            Self::Step(step) => step.env_id,
            Self::Note(note) => note.env_id,
        }
    }

    /// Its number in the process: unique, rising along every env and from a cause to its effect. Numbers of records
    /// that do not depend on each other may be out of their order in time, and numbers may be left out.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Env(env) => env.seq,
            Self::Step(step) => step.seq,
            Self::Note(note) => note.seq,
        }
    }

    /// Unix time in nanoseconds.
    pub fn ts(&self) -> u64 {
        match self {
            Self::Env(env) => env.ts,
            Self::Step(step) => step.ts,
            Self::Note(note) => note.ts,
        }
    }

    /// The step, if it is one.
    pub fn as_step(&self) -> Option<&StepRecord> {
        if let Self::Step(step) = self { Some(step) } else { None }
    }

    /// The env, if it is one.
    pub fn as_env(&self) -> Option<&EnvRecord> {
        if let Self::Env(env) = self { Some(env) } else { None }
    }

    /// The note, if it is one.
    pub fn as_note(&self) -> Option<&NoteRecord> {
        if let Self::Note(note) = self { Some(note) } else { None }
    }
}

/// A number as a text: JSON readers keep no more than 53 bits of a number.
mod text_u64 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), &"Unix nanoseconds as a text of digits"))
    }
}
