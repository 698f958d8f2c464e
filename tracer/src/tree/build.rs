//! From records to spans.

use std::collections::HashMap;

use serde_json::Value;

use super::{Span, SpanOutcome, Tree};
use crate::id::{EnvId, FrameId, TraceId};
use crate::record::{ErrorKind, ErrorRecord, Note, Record, StepRecord};
use crate::stats::TraceState;
use crate::status::Status;

/// Spans by number, and whose child each is.
#[derive(Default)]
struct Building {
    spans: Vec<(Span, Option<usize>)>,
    frames: HashMap<FrameId, usize>,
    /// Nodes of the manual API that are entered, per env, outermost first.
    manual: HashMap<EnvId, Vec<usize>>,
    /// Where in its parent a forked env of the manual API was made.
    forked_in: HashMap<EnvId, usize>,
}

pub(super) fn tree(trace_id: TraceId, records: &[&Record], state: TraceState) -> Tree {
    let mut building = Building::default();
    let mut violations = Vec::new();
    let mut source = String::new();
    let mut payload = Value::Null;
    for record in records {
        match record {
            Record::Env(env) => {
                if env.parent_env.is_none() {
                    source.clone_from(&env.source);
                    payload.clone_from(&env.payload);
                }
                let innermost = env.parent_env.and_then(|parent| building.manual.get(&parent)?.last().copied());
                if let Some(place) = innermost {
                    building.forked_in.insert(env.env_id, place);
                }
            }
            Record::Step(step) => building.step(step),
            Record::Note(note) => match &note.note {
                Note::Unwound { frame, .. } => {
                    if let Some(place) = building.frames.get(frame) {
                        building.spans[*place].0.end(note.ts, SpanOutcome::Unwound);
                    }
                }
                violation => violations.push(violation.clone()),
            },
        }
    }
    let times = || records.iter().map(|record| record.ts());
    let duration_ns = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    Tree { trace_id, source, payload, state, duration_ns, spans: building.finish(), violations }
}

impl Building {
    fn step(&mut self, step: &StepRecord) {
        match (step.frame, step.status) {
            (Some(frame), Status::Enter) => {
                if self.frames.contains_key(&frame) {
                    return;
                }
                let parent = step.parent.and_then(|parent| self.frames.get(&parent).copied());
                let parent = parent.or_else(|| self.forked_in.get(&step.env_id).copied());
                self.frames.insert(frame, self.spans.len());
                self.spans.push((Span::begin(step, step.values.clone()), parent));
            }
            (Some(frame), _) => {
                // Without its enter (lost, or trimmed) an end still says that the node ran.
                let place = *self.frames.entry(frame).or_insert_with(|| {
                    self.spans.push((Span::begin(step, Value::Null), None));
                    self.spans.len() - 1
                });
                self.spans[place].0.end_with(step, step.values.get("ret").cloned().unwrap_or_default());
            }
            (None, Status::Enter) => {
                let entered = self.manual.entry(step.env_id).or_default();
                let parent = entered.last().or_else(|| self.forked_in.get(&step.env_id)).copied();
                entered.push(self.spans.len());
                self.spans.push((Span::begin(step, step.meta.clone()), parent));
            }
            (None, _) => {
                let entered = self.manual.entry(step.env_id).or_default();
                let place = entered.iter().rposition(|place| self.spans[*place].0.node == step.node);
                if let Some(place) = place {
                    let span = entered.remove(place);
                    self.spans[span].0.end_with(step, step.meta.clone());
                }
            }
        }
    }

    /// Puts every span into its parent. Parents come before their children, so the last span is a leaf.
    fn finish(self) -> Vec<Span> {
        let mut spans = self.spans;
        let mut roots = Vec::new();
        while let Some((mut span, parent)) = spans.pop() {
            span.children.reverse();
            match parent.and_then(|parent| spans.get_mut(parent)) {
                Some((parent, _)) => parent.children.push(span),
                None => roots.push(span),
            }
        }
        roots.reverse();
        roots
    }
}

impl Span {
    fn begin(step: &StepRecord, arguments: Value) -> Self {
        Self {
            node: step.node.clone(),
            frame: step.frame,
            key: step.key.clone(),
            start_ns: step.ts,
            duration_ns: None,
            outcome: SpanOutcome::Open,
            arguments,
            result: Value::Null,
            children: Vec::new(),
        }
    }

    fn end_with(&mut self, step: &StepRecord, result: Value) {
        let unknown =
            || ErrorRecord { kind: ErrorKind::Err, type_name: String::new(), message: None, chain: Vec::new() };
        self.result = result;
        self.end(
            step.ts,
            match step.status {
                Status::Error => SpanOutcome::Failed(step.error.clone().unwrap_or_else(unknown)),
                _ => SpanOutcome::Ok,
            },
        );
    }

    fn end(&mut self, ts: u64, outcome: SpanOutcome) {
        self.duration_ns = Some(ts.saturating_sub(self.start_ns));
        self.outcome = outcome;
    }
}
