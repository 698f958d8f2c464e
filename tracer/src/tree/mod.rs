//! Records as trees of calls: to look at, to assert on.

mod build;
mod draw;
mod pattern;

use serde_json::Value;

use crate::id::{FrameId, TraceId};
use crate::record::{ErrorRecord, Note, Record};
use crate::stats::{TraceState, by_trace};
pub use draw::{Escaped, Hidden, Nanoseconds};
pub use pattern::{ParsePatternError, Pattern};

/// One trace as a tree of calls.
///
/// It displays as a drawing without ids and times, so that equal runs give equal texts. `{:#}` adds the id, the
/// outcome of the trace, and in front of each node how it ended (`✓` well, `✗` with an error of its own, `↑` with one
/// from below, `…` not yet or never) and how long it took. Long values end with `…`, of which the tree has more; behind
/// those that were too large to be recorded whole stands `(cut)`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tree {
    /// The trace.
    pub trace_id: TraceId,
    /// What started it.
    pub source: String,
    /// What it was started with.
    pub payload: Value,
    /// Part of that was left out for its size.
    pub payload_truncated: bool,
    /// How it stands. A trace read back from elsewhere has nothing to come: what is open is lost.
    pub state: TraceState,
    /// From the first record to the last.
    pub duration_ns: u64,
    /// The calls made by no traced function.
    pub spans: Vec<Span>,
    /// Missing edges of declared flows.
    pub violations: Vec<Note>,
}

/// One run of a node, from its enter to its end.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Span {
    /// The node.
    pub node: String,
    /// The frame; absent for nodes of the manual API.
    pub frame: Option<FrameId>,
    /// The structural key; absent for nodes of the manual API.
    pub key: Option<String>,
    /// Unix time of its enter, in nanoseconds.
    pub start_ns: u64,
    /// From its enter to its end.
    pub duration_ns: Option<u64>,
    /// How it ended.
    pub outcome: SpanOutcome,
    /// Recorded arguments, or the meta of the manual enter.
    pub arguments: Value,
    /// Part of them was left out for its size.
    pub arguments_truncated: bool,
    /// The recorded result, or the meta of the manual end.
    pub result: Value,
    /// Part of it was left out for its size.
    pub result_truncated: bool,
    /// The calls it made.
    pub children: Vec<Span>,
    /// Calls below it that are left out: trees end at 256 levels.
    pub omitted: usize,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanOutcome {
    /// Well.
    Ok,
    /// With an error of its own.
    Failed(ErrorRecord),
    /// With the error of a span that it called, on its way out.
    Unwound,
    /// Not yet, or never.
    Open,
}

impl Tree {
    /// The trees of the traces among `records`, in the order of their first records. `active` says of which a step
    /// may still come.
    pub fn of(records: &[Record], active: &[TraceId]) -> Vec<Self> {
        by_trace(records)
            .into_iter()
            .map(|(id, records)| build::tree(id, &records, TraceState::of(&records, active.contains(&id))))
            .collect()
    }

    /// The tree of one trace, of its records among these: empty if none of it is there. `is_active` says that a step may
    /// still come.
    pub fn of_trace(trace_id: TraceId, records: &[Record], is_active: bool) -> Self {
        let records: Vec<_> = records.iter().filter(|record| record.trace_id() == trace_id).collect();
        build::tree(trace_id, &records, TraceState::of(&records, is_active))
    }

    /// The tree in one line: the form that [`Pattern`] reads.
    pub fn to_line(&self) -> String {
        draw::line(&self.spans)
    }
}

impl Span {
    /// This span and all below it, callers first.
    pub fn walk(&self) -> Vec<&Self> {
        let mut found = Vec::new();
        let mut todo = vec![self];
        while let Some(span) = todo.pop() {
            found.push(span);
            todo.extend(span.children.iter().rev());
        }
        found
    }
}
