//! Entries into records, one after the other in the order of their numbers.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Captured, Detail, Entry, EnvEvent, Event, NoteEvent, NoteKind, StepEvent, Times};
use crate::id::{EnvId, FrameId, IdMap, TraceId};
use crate::lines::key;
use crate::outcome::Failure;
use crate::record::{Cause, EnvRecord, ErrorKind, ErrorRecord, Note, NoteRecord, Record, SCHEMA, StepRecord};
use crate::site::{ProcessSites, Sites};
use crate::status::Status;

/// A key longer than this has its beginning replaced by a hash, or the keys of a deep recursion would together grow
/// with the square of its depth.
const KEY_LEN_MAX: usize = 200;

/// Frames of a trace whose keys are known after their end, for calls and forks of theirs that begin later. Where that
/// many have ended in between, the key of such a call begins with a hash.
const ENDED_MAX: usize = 4096;

/// Envs of a trace, the newest, in which the forks that lead to a call are looked for. What is not found there has a key
/// that begins with a hash.
const ELSEWHERE_MAX: usize = 256;

/// Makes records of entries: knows of each running trace what the entries to come refer to, and from `sites` what is
/// known of the traced functions.
#[derive(Default)]
pub struct Assembler<S = ProcessSites> {
    sites: S,
    traces: IdMap<TraceId, Trace>,
    envs: IdMap<EnvId, Env>,
    nodes: HashMap<u32, Arc<str>>,
}

#[derive(Default)]
struct Trace {
    envs: Vec<EnvId>,
    keys: IdMap<FrameId, (Arc<str>, u64)>,
    /// Those of `keys` that have ended, in the order of their ends.
    ended: VecDeque<FrameId>,
}

impl Trace {
    fn end(&mut self, frame: FrameId) {
        self.ended.push_back(frame);
        if self.ended.len() > ENDED_MAX {
            if let Some(oldest) = self.ended.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }
}

struct Env {
    trace: TraceId,
    /// Its number, if it is a fork.
    fork: Option<u64>,
    parent: Option<EnvId>,
}

impl<S> fmt::Debug for Assembler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembler").field("traces", &self.traces.len()).finish_non_exhaustive()
    }
}

impl<S: Sites> Assembler<S> {
    /// For entries whose sites these are.
    pub fn new(sites: S) -> Self {
        Self { sites, traces: IdMap::default(), envs: IdMap::default(), nodes: HashMap::new() }
    }

    /// Says of which trace an env is, where the entry that did is not among those to come.
    pub fn know(&mut self, trace: TraceId, env: EnvId) {
        self.envs.entry(env).or_insert_with(|| {
            self.traces.entry(trace).or_default().envs.push(env);
            Env { trace, fork: None, parent: None }
        });
    }

    /// The record of an entry; `None` where it is only of use to the assembler, or its env is unknown. Entries come in
    /// the order of their [numbers](Entry::seq).
    pub fn push(&mut self, entry: &Entry, detail: Option<&Detail>, times: &Times) -> Option<Record> {
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
            Event::Resumed { trace, env, .. } => {
                // Forgotten, if the trace was over.
                self.know(trace, env);
                None
            }
        }
    }

    fn env(&mut self, event: &EnvEvent, detail: Option<&Detail>, times: &Times) -> EnvRecord {
        self.traces.entry(event.trace).or_default().envs.push(event.env);
        let fork = (event.cause == Cause::Fork).then_some(event.fork);
        let parent = event.parent.map(|(env, _)| env);
        self.envs.insert(event.env, Env { trace: event.trace, fork, parent });
        let source = match detail.and_then(|detail| detail.trace.as_ref()) {
            Some((_, source)) => source.to_string(),
            None => self.sites.site(event.site).map_or("", |site| site.source.unwrap_or(site.node)).to_owned(),
        };
        let payload = detail.and_then(|detail| detail.meta.as_ref());
        EnvRecord {
            schema: SCHEMA,
            trace_id: event.trace,
            env_id: event.env,
            step_id: 0,
            seq: event.seq,
            ts: times.unix_ns(event.ticks),
            source,
            payload: payload.map_or(Value::Null, Captured::to_json),
            cause: event.cause,
            parent_env: event.parent.map(|(env, _)| env),
            parent_step: event.parent.map(|(_, step)| step),
            truncated: event.lacks_payload || payload.is_some_and(Captured::is_truncated),
        }
    }

    fn step(&mut self, event: &StepEvent, detail: Option<&Detail>, times: &Times) -> Option<StepRecord> {
        let trace_id = match self.envs.get(&event.env) {
            Some(env) => env.trace,
            None => detail?.trace.as_ref()?.0,
        };
        let node = match detail.and_then(|detail| detail.node.as_ref()) {
            Some(node) => node.clone(),
            None => self.node(event.site),
        };
        let key = event.frame.and_then(|frame| self.key(trace_id, frame, event, &node));
        let meta = detail.and_then(|detail| detail.meta.as_ref());
        let values = detail.and_then(|detail| detail.values.as_ref());
        Some(StepRecord {
            schema: SCHEMA,
            trace_id,
            env_id: event.env,
            step_id: event.step,
            seq: event.seq,
            ts: times.unix_ns(event.ticks),
            node: node.to_string(),
            status: event.status,
            meta: meta.map_or(Value::Null, Captured::to_json),
            frame: event.frame,
            parent: event.parent,
            key: key.map(|key| key.to_string()),
            resumed: event.resumed,
            at: event.error.and_then(|_| self.sites.site(event.site)).map(|site| site.place()),
            error: event.error.map(|kind| error(kind, detail.and_then(|detail| detail.failure.as_ref()))),
            values: values.map_or(Value::Null, Captured::to_json),
            truncated: meta.is_some_and(Captured::is_truncated) || values.is_some_and(Captured::is_truncated),
        })
    }

    fn key(&mut self, trace_id: TraceId, frame: FrameId, event: &StepEvent, node: &str) -> Option<Arc<str>> {
        let trace = self.traces.get_mut(&trace_id)?;
        if event.status != Status::Enter {
            let key = trace.keys.get(&frame).map(|(key, _)| key.clone());
            trace.end(frame);
            return Some(key.unwrap_or_else(|| hashed(event.key)));
        }
        if let Some((key, _)) = trace.keys.get(&frame) {
            return Some(key.clone());
        }
        let parent = match event.parent {
            Some(parent) => trace.keys.get(&parent).cloned(),
            None => Some(("".into(), 0)),
        };
        let key = match parent {
            // Its first enter, or that of its parent, is not among the entries.
            _ if event.resumed => hashed(event.key),
            None => hashed(event.key),
            Some((parent, hash)) => {
                let forks =
                    if event.through_fork { self.forks(trace_id, hash, event, node) } else { Some(String::new()) };
                forks.map_or_else(
                    || hashed(event.key),
                    |forks| {
                        let call = format!("{forks}{node}#{}", event.occurrence);
                        match parent.len() + call.len() {
                            _ if parent.is_empty() => call.into(),
                            ..KEY_LEN_MAX => format!("{parent}/{call}").into(),
                            _ => format!("{}/{call}", hashed(hash)).into(),
                        }
                    },
                )
            }
        };
        self.traces.get_mut(&trace_id)?.keys.insert(frame, (key.clone(), event.key));
        Some(key)
    }

    /// The forks between the frame with the key `parent` and a call made by no frame of a forked env.
    ///
    /// The call need not begin in that env: the env may have been recovered from, or the future taken elsewhere. So
    /// the forks are those that the key was made with, looked for from the near to the far.
    fn forks(&self, trace: TraceId, parent: u64, event: &StepEvent, node: &str) -> Option<String> {
        let node = key::hash(node);
        let fits = |forks: &Vec<u64>| {
            let fork = forks.iter().fold(parent, |key, number| key::fork(key, *number));
            key::call(fork, node, event.occurrence) == event.key
        };
        let elsewhere = self.traces.get(&trace)?.envs.iter().rev().take(ELSEWHERE_MAX).copied();
        let forks = std::iter::once(event.env).chain(elsewhere).find_map(|env| self.forks_above(env).find(fits))?;
        let shown = |number: &u64| key::uncarried(*number).map_or(*number, |(_, call)| call);
        Some(forks.iter().map(|number| ["fork#", &shown(number).to_string(), "/"].concat()).collect())
    }

    /// What may lead from a frame to the beginning of an env: its fork, the fork that this was made in and its, …
    fn forks_above(&self, env: EnvId) -> impl Iterator<Item = Vec<u64>> {
        let envs = std::iter::successors(self.envs.get(&env), |env| self.envs.get(&env.parent?));
        let numbers = envs.filter_map(|env| env.fork);
        numbers
            .scan(Vec::new(), |path, number| {
                path.insert(0, number);
                // `carry_fn` forks once, and then for each call.
                let carried = key::uncarried(number).map(|(hub, _)| [&[hub], &path[..]].concat());
                Some(std::iter::once(path.clone()).chain(carried))
            })
            .flatten()
    }

    fn note(&mut self, event: &NoteEvent, times: &Times) -> Option<NoteRecord> {
        let trace_id = self.envs.get(&event.env)?.trace;
        let note = match event.kind {
            NoteKind::Unwound { frame, error } => {
                if let Some(trace) = self.traces.get_mut(&trace_id) {
                    trace.end(frame);
                }
                Note::Unwound { frame, node: self.node(event.site).to_string(), error }
            }
            NoteKind::FlowViolation { from } => {
                let to = self.node(event.site).to_string();
                let flow = self.sites.site(event.site)?.flow?;
                Note::FlowViolation {
                    flow: flow.name.to_owned(),
                    from: from.and_then(|row| flow.nodes.get(usize::from(row))).map(|node| (*node).to_owned()),
                    to,
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
        let name = || self.sites.site(number).map_or("?", |site| site.node).into();
        self.nodes.entry(number).or_insert_with(name).clone()
    }
}

fn hashed(key: u64) -> Arc<str> {
    format!("~{key:016x}").into()
}

fn error(kind: ErrorKind, failure: Option<&Failure>) -> ErrorRecord {
    let failure = failure.cloned().unwrap_or_default();
    ErrorRecord { kind, type_name: failure.type_name.into_owned(), message: failure.message, chain: failure.chain }
}
