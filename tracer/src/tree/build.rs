//! From records to spans.

use std::collections::HashMap;

use serde_json::Value;

use super::{Span, SpanOutcome, Tree};
use crate::id::{EnvId, FrameId, TraceId};
use crate::record::{Cause, ErrorKind, ErrorRecord, Note, Record, StepRecord};
use crate::stats::TraceState;
use crate::status::Status;

/// Spans by number.
#[derive(Default)]
struct Building {
    spans: Vec<Place>,
    /// The line of calls of each env.
    lines: HashMap<EnvId, CallLine>,
    frames: HashMap<FrameId, usize>,
    /// Nodes of the manual API that are entered, per env, outermost first.
    manual: HashMap<EnvId, Vec<usize>>,
    /// Where in its parent a forked env of the manual API was made.
    forked_in: HashMap<EnvId, usize>,
}

/// Deeper calls are only counted: whatever reads or draws a tree goes down into it.
const DEPTH_MAX: usize = 256;

/// A span and where it belongs.
struct Place {
    span: Span,
    parent: Option<usize>,
    line: Option<CallLine>,
    /// Its own number.
    seq: u64,
    /// From 1.
    depth: usize,
    children: Vec<Child>,
}

/// A span and its rank among its siblings.
type Child = ((u64, u64, u64), Span);

/// An env and its recoveries.
#[derive(Clone, Copy, PartialEq)]
struct CallLine {
    env: EnvId,
    /// The number of the env.
    made: u64,
}

pub(super) fn tree(trace_id: TraceId, records: &[&Record], state: TraceState) -> Tree {
    let mut building = Building::default();
    let mut violations = Vec::new();
    let mut source = String::new();
    let (mut payload, mut payload_truncated) = (Value::Null, false);
    for record in records {
        match record {
            Record::Env(env) => {
                if source.is_empty() {
                    source.clone_from(&env.source);
                }
                if env.parent_env.is_none() {
                    source.clone_from(&env.source);
                    payload.clone_from(&env.payload);
                    payload_truncated = env.truncated;
                }
                let innermost = env.parent_env.and_then(|parent| building.manual.get(&parent)?.last().copied());
                let left = env.parent_env.filter(|_| env.cause == Cause::Recovery);
                let line = left
                    .and_then(|left| building.lines.get(&left).copied())
                    .unwrap_or(CallLine { env: env.env_id, made: env.seq });
                building.lines.insert(env.env_id, line);
                if let Some(place) = innermost {
                    building.forked_in.insert(env.env_id, place);
                }
            }
            Record::Step(step) => building.step(step),
            Record::Note(note) => match &note.note {
                Note::Unwound { frame, .. } => {
                    if let Some(place) = building.frames.get(frame).copied() {
                        if building.may_end(place, note.env_id) {
                            building.spans[place].span.end(note.ts, SpanOutcome::Unwound);
                        }
                    }
                }
                violation => violations.push(violation.clone()),
            },
        }
    }
    let times = || records.iter().map(|record| record.ts());
    let duration_ns = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    Tree { trace_id, source, payload, payload_truncated, state, duration_ns, spans: building.finish(), violations }
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
                let place = self.push(step, step.values.clone(), parent);
                self.frames.insert(frame, place);
            }
            (Some(frame), _) => {
                // Without its enter (lost, or trimmed) an end still says that the node ran.
                let place = match self.frames.get(&frame) {
                    Some(place) => *place,
                    None => self.push(step, Value::Null, None),
                };
                self.frames.insert(frame, place);
                if self.may_end(place, step.env_id) {
                    self.spans[place].span.end_with(step, step.values.get("ret").cloned().unwrap_or_default());
                }
            }
            (None, Status::Enter) => {
                let innermost = self.manual.get(&step.env_id).and_then(|entered| entered.last());
                let parent = innermost.or_else(|| self.forked_in.get(&step.env_id)).copied();
                let place = self.push(step, step.meta.clone(), parent);
                self.manual.entry(step.env_id).or_default().push(place);
            }
            (None, _) => {
                let entered = self.manual.entry(step.env_id).or_default();
                let place = entered.iter().rposition(|place| self.spans[*place].span.node == step.node);
                if let Some(place) = place {
                    let span = entered.remove(place);
                    self.spans[span].span.end_with(step, step.meta.clone());
                }
            }
        }
    }

    /// A process that was forked ends what was open then as its parent does, which may still be in it.
    fn may_end(&self, place: usize, env: EnvId) -> bool {
        let lines = self.spans[place].line.zip(self.lines.get(&env));
        lines.is_none_or(|(entered, ends)| entered == *ends)
    }

    fn push(&mut self, step: &StepRecord, arguments: Value, parent: Option<usize>) -> usize {
        self.spans.push(Place {
            span: Span::begin(step, arguments),
            parent,
            line: self.lines.get(&step.env_id).copied(),
            seq: step.seq,
            depth: parent.map_or(1, |parent| self.spans[parent].depth + 1),
            children: Vec::new(),
        });
        self.spans.len() - 1
    }

    /// Puts every span into its parent. Parents come before their children, so the last span is a leaf.
    fn finish(self) -> Vec<Span> {
        let mut places = self.spans;
        let mut roots = Vec::new();
        while let Some(Place { mut span, parent, line, seq, depth, children }) = places.pop() {
            span.children = in_order(children);
            let mut parent = parent.and_then(|parent| places.get_mut(parent));
            if let (Some(parent), true) = (&mut parent, depth > DEPTH_MAX) {
                parent.span.omitted += 1 + span.omitted;
                continue;
            }
            // What begins a line of calls stands where the line was made, not where it happened to run first: so the
            // tree does not depend on who is scheduled when.
            let left_at = line.filter(|_| parent.as_ref().is_none_or(|parent| parent.line != line));
            // Processes that were forked give the same numbers.
            let rank = (left_at.map_or(seq, |line| line.made), seq, span.start_ns);
            parent.map_or(&mut roots, |parent| &mut parent.children).push((rank, span));
        }
        in_order(roots)
    }
}

fn in_order(mut children: Vec<Child>) -> Vec<Span> {
    children.sort_by_key(|(rank, _)| *rank);
    children.into_iter().map(|(_, span)| span).collect()
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
            arguments_truncated: step.status == Status::Enter && step.truncated,
            result: Value::Null,
            result_truncated: false,
            children: Vec::new(),
            omitted: 0,
        }
    }

    fn end_with(&mut self, step: &StepRecord, result: Value) {
        let unknown =
            || ErrorRecord { kind: ErrorKind::Err, type_name: String::new(), message: None, chain: Vec::new() };
        (self.result, self.result_truncated) = (result, step.truncated);
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::{Status, create_env, test};

    #[test]
    fn deep_recursion_is_drawn_as_far_as_one_would_look() {
        let recording = test::record(|| {
            let mut ctx = create_env((), "deep");
            for level in 0..5_000 {
                ctx = ctx.step(&format!("n{level}"), Status::Enter, ()).unwrap();
            }
        });
        let tree = recording.trees().remove(0);
        assert_eq!(tree.spans[0].walk().len(), super::DEPTH_MAX);
        let mut drawn = String::new();
        write!(drawn, "{tree}").unwrap();
        assert!(drawn.ends_with("… and 4744 calls below\n"), "{drawn}");
        assert!(tree.to_line().ends_with("n255? > .."));
    }
}
