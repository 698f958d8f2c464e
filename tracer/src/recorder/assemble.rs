//! Entries into records, one after the other in the order of their numbers.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Detail, Entry, EnvEvent, Event, NoteEvent, NoteKind, StepEvent, Times};
use crate::id::{EnvId, FrameId, IdMap, TraceId};
use crate::outcome::Failure;
use crate::record::{Cause, EnvRecord, ErrorKind, ErrorRecord, Note, NoteRecord, Record, SCHEMA, StepRecord};
use crate::site::{self, Site};
use crate::status::Status;

/// A key longer than this has its beginning replaced by a hash, or the keys of a deep recursion would together grow
/// with the square of its depth.
const KEY_LEN_MAX: usize = 200;

/// Knows of each running trace what the entries to come refer to.
#[derive(Default)]
pub(crate) struct Assembler {
    traces: IdMap<TraceId, Trace>,
    envs: IdMap<EnvId, Env>,
    nodes: HashMap<u32, Arc<str>>,
}

#[derive(Default)]
struct Trace {
    envs: Vec<EnvId>,
    keys: IdMap<FrameId, (Arc<str>, u64)>,
}

struct Env {
    trace: TraceId,
    fork: Option<u32>,
}

impl Assembler {
    /// The record of an entry; `None` where it is only of use to the assembler, or its env is unknown.
    pub(crate) fn push(&mut self, entry: &Entry, detail: Option<&Detail>, times: &Times) -> Option<Record> {
        match entry.event()? {
            Event::Env(event) => Some(Record::Env(self.env(&event, detail, times))),
            Event::Step(event) => self.step(&event, detail, times).map(Record::Step),
            Event::Note(event) => self.note(&event, times).map(Record::Note),
            Event::Over { trace, .. } => {
                for env in self.traces.remove(&trace).unwrap_or_default().envs {
                    self.envs.remove(&env);
                }
                None
            }
            Event::Resumed { .. } => None,
        }
    }

    fn env(&mut self, event: &EnvEvent, detail: Option<&Detail>, times: &Times) -> EnvRecord {
        self.traces.entry(event.trace).or_default().envs.push(event.env);
        let fork = (event.cause == Cause::Fork).then_some(event.fork);
        self.envs.insert(event.env, Env { trace: event.trace, fork });
        let source = match detail.and_then(|detail| detail.trace.as_ref()) {
            Some((_, source)) => source.to_string(),
            None => site::site(event.site).map_or("", |site| site.source.unwrap_or(site.node)).to_owned(),
        };
        EnvRecord {
            schema: SCHEMA,
            trace_id: event.trace,
            env_id: event.env,
            step_id: 0,
            seq: event.seq,
            ts: times.unix_ns(event.ticks),
            source,
            payload: detail.and_then(|detail| detail.meta.as_ref()).map_or(Value::Null, |value| value.to_json()),
            cause: event.cause,
            parent_env: event.parent.map(|(env, _)| env),
            parent_step: event.parent.map(|(_, step)| step),
        }
    }

    fn step(&mut self, event: &StepEvent, detail: Option<&Detail>, times: &Times) -> Option<StepRecord> {
        let known = self.envs.get(&event.env);
        let trace_id = match known {
            Some(env) => env.trace,
            None => detail?.trace.as_ref()?.0,
        };
        let fork = known.and_then(|env| env.fork).filter(|_| event.through_fork);
        let node = match detail.and_then(|detail| detail.node.as_ref()) {
            Some(node) => node.clone(),
            None => self.node(event.site),
        };
        let key = event.frame.and_then(|frame| self.key(trace_id, frame, event, fork, &node));
        let meta = detail.and_then(|detail| detail.meta.as_deref());
        let values = detail.and_then(|detail| detail.values.as_deref());
        Some(StepRecord {
            schema: SCHEMA,
            trace_id,
            env_id: event.env,
            step_id: event.step,
            seq: event.seq,
            ts: times.unix_ns(event.ticks),
            node: node.to_string(),
            status: event.status,
            meta: meta.map_or(Value::Null, super::Captured::to_json),
            frame: event.frame,
            parent: event.parent,
            key: key.map(|key| key.to_string()),
            resumed: event.resumed,
            at: event.error.and_then(|_| site::site(event.site)).map(Site::place),
            error: event.error.map(|kind| error(kind, detail.and_then(|detail| detail.failure.as_ref()))),
            values: values.map_or(Value::Null, super::Captured::to_json),
            truncated: meta.is_some_and(super::Captured::is_truncated)
                || values.is_some_and(super::Captured::is_truncated),
        })
    }

    fn key(
        &mut self,
        trace: TraceId,
        frame: FrameId,
        event: &StepEvent,
        fork: Option<u32>,
        node: &str,
    ) -> Option<Arc<str>> {
        let keys = &mut self.traces.get_mut(&trace)?.keys;
        if event.status != Status::Enter {
            // Nothing refers to a frame that has ended, except calls made by it that begin late: rare, and their
            // key then is the hash.
            return Some(keys.remove(&frame).map_or_else(|| hashed(event.key), |(key, _)| key));
        }
        if let Some((key, _)) = keys.get(&frame) {
            return Some(key.clone());
        }
        let call = match fork {
            Some(fork) => format!("fork#{fork}/{node}#{}", event.occurrence),
            None => format!("{node}#{}", event.occurrence),
        };
        let key: Arc<str> = match event.parent.map(|parent| keys.get(&parent)) {
            _ if event.resumed => hashed(event.key),
            None => call.into(),
            Some(None) => hashed(event.key),
            Some(Some((parent, _))) if parent.len() + call.len() < KEY_LEN_MAX => format!("{parent}/{call}").into(),
            Some(Some((_, parent))) => format!("{}/{call}", hashed(*parent)).into(),
        };
        keys.insert(frame, (key.clone(), event.key));
        Some(key)
    }

    fn note(&mut self, event: &NoteEvent, times: &Times) -> Option<NoteRecord> {
        let trace_id = self.envs.get(&event.env)?.trace;
        let note = match event.kind {
            NoteKind::Unwound { frame, error } => {
                if let Some(trace) = self.traces.get_mut(&trace_id) {
                    trace.keys.remove(&frame);
                }
                Note::Unwound { frame, node: self.node(event.site).to_string(), error }
            }
            NoteKind::FlowViolation { from } => {
                let flow = site::site(event.site).and_then(|site| site.flow)?.flow;
                Note::FlowViolation {
                    flow: flow.name.to_owned(),
                    from: from.and_then(|row| flow.nodes.get(usize::from(row))).map(|node| (*node).to_owned()),
                    to: self.node(event.site).to_string(),
                }
            }
        };
        Some(NoteRecord {
            schema: SCHEMA,
            trace_id,
            env_id: event.env,
            step_id: event.step,
            seq: event.seq,
            ts: times.unix_ns(event.ticks),
            note,
        })
    }

    fn node(&mut self, number: u32) -> Arc<str> {
        let name = || site::site(number).map_or("?", |site: &'static Site| site.node).into();
        self.nodes.entry(number).or_insert_with(name).clone()
    }
}

fn hashed(key: u64) -> Arc<str> {
    format!("~{key:016x}").into()
}

fn error(kind: ErrorKind, failure: Option<&Failure>) -> ErrorRecord {
    let failure = failure.cloned().unwrap_or_default();
    ErrorRecord { kind, type_name: failure.type_name.to_owned(), message: failure.message, chain: failure.chain }
}
