//! The table of the automatic API, written down naively, against the runtime on random histories.
//!
//! A history may do what no ordinary program does: poll a function's future inside another one, end the outer before
//! the inner, begin a call long after who made it has ended. The model knows no thread, no lock and no recorder.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tracer::{Cause, Note, NoteRecord, Record, Status, TraceState, Tracer};

use crate::check::{self, Finished};
use crate::nodes::{Failed, NAMES, SITES, call, call_async};
use crate::random;

type FrameNo = usize;
type LineNo = usize;
type EnvNo = usize;

/// Where a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Nowhere,
    Base(LineNo),
    Frame(FrameNo),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Ok,
    Err,
    Panic,
    Drop,
}

#[derive(Debug)]
struct Env {
    trace: usize,
    ordinal: usize,
    steps: u64,
    /// Open frames, outermost first; those that outlive the error of a dead env.
    open: Vec<FrameNo>,
    dead: bool,
}

/// An env, its recovery, the recovery of that …
#[derive(Debug, Default)]
struct Line {
    env: EnvNo,
    key: String,
    parent: Option<FrameNo>,
    calls: HashMap<usize, u32>,
    forks: u32,
}

#[derive(Debug)]
struct Frame {
    node: usize,
    line: LineNo,
    id: String,
    call: Call,
    calls: HashMap<usize, u32>,
    forks: u32,
    open: bool,
}

#[derive(Debug, Clone)]
struct Call {
    parent: Option<FrameNo>,
    key: String,
}

#[derive(Debug, Default)]
struct Model {
    envs: Vec<Env>,
    lines: Vec<Line>,
    frames: Vec<Frame>,
    /// Envs by trace; the first env of each trace.
    traces: Vec<(usize, LineNo)>,
    log: Vec<String>,
}

fn count(calls: &mut HashMap<usize, u32>, node: usize) -> u32 {
    let calls = calls.entry(node).or_default();
    *calls += 1;
    *calls - 1
}

fn join(key: &str, rest: &str) -> String {
    if key.is_empty() { rest.to_owned() } else { format!("{key}/{rest}") }
}

impl Model {
    fn trace_of(&self, at: At) -> Option<usize> {
        Some(self.envs[self.lines[self.line_of(at)?].env].trace)
    }

    fn line_of(&self, at: At) -> Option<LineNo> {
        match at {
            At::Nowhere => None,
            At::Base(line) => Some(line),
            At::Frame(frame) => Some(self.frames[frame].line),
        }
    }

    fn open_env(&mut self, trace: usize, cause: Cause, parent: Option<EnvNo>) -> EnvNo {
        let from = parent.map(|env| format!(" of e{env}@{}", self.envs[env].steps)).unwrap_or_default();
        self.log.push(format!("e{} {cause:?}{from}", self.envs.len()));
        self.envs.push(Env { trace, ordinal: self.traces[trace].0, steps: 0, open: Vec::new(), dead: false });
        self.traces[trace].0 += 1;
        self.envs.len() - 1
    }

    fn open_line(&mut self, trace: usize, cause: Cause, parent: Option<EnvNo>) -> LineNo {
        let env = self.open_env(trace, cause, parent);
        self.lines.push(Line { env, ..Line::default() });
        self.lines.len() - 1
    }

    /// One step of the env where the line stands.
    fn step(&mut self, line: LineNo, status: Status, frame: FrameNo, more: &str) {
        let env = self.lines[line].env;
        self.envs[env].steps += 1;
        let step = self.envs[env].steps;
        let Frame { node, id, call, .. } = &self.frames[frame];
        let parent = call.parent.map_or("-", |parent| &self.frames[parent].id);
        let (node, key) = (NAMES[*node], &call.key);
        self.log.push(format!("e{env}.{step} {status} {node} frame {id} of {parent}{more} key {key}"));
    }

    /// Counts a call; `None` where there is no line to count in.
    fn call(&mut self, at: At, node: usize) -> Option<Call> {
        let (parent, key, calls) = match at {
            At::Nowhere => return None,
            At::Base(line) => {
                let line = &mut self.lines[line];
                (line.parent, &line.key, &mut line.calls)
            }
            At::Frame(frame) => {
                let calls = &mut self.frames[frame];
                (Some(frame), &calls.call.key, &mut calls.calls)
            }
        };
        let occurrence = count(calls, node);
        Some(Call { parent, key: join(key, &format!("{}#{occurrence}", NAMES[node])) })
    }

    fn enter(&mut self, at: At, call: Option<Call>, node: usize) -> FrameNo {
        let Some(line) = self.line_of(at) else {
            self.traces.push((0, self.lines.len()));
            let line = self.open_line(self.traces.len() - 1, Cause::Root, None);
            return self.push(line, Call { parent: None, key: format!("{}#0", NAMES[node]) }, node);
        };
        let call = call.or_else(|| self.call(at, node)).expect("counted, since it is made somewhere");
        let trace = self.envs[self.lines[line].env].trace;
        let elsewhere = if matches!(at, At::Frame(frame) if !self.frames[frame].open) {
            Some(Cause::Detached)
        } else {
            if self.envs[self.lines[line].env].dead {
                self.recover(line);
            }
            let env = &self.envs[self.lines[line].env];
            let caller = if let At::Frame(frame) = at { Some(frame) } else { None };
            if env.open.last().copied() != caller {
                Some(Cause::Overlap)
            } else if env.open.iter().any(|open| self.frames[*open].node == node) {
                Some(Cause::Reentry)
            } else {
                None
            }
        };
        let line = match elsewhere {
            Some(cause) => self.open_line(trace, cause, Some(self.lines[line].env)),
            None => line,
        };
        self.push(line, call, node)
    }

    fn push(&mut self, line: LineNo, call: Call, node: usize) -> FrameNo {
        let env = self.lines[line].env;
        let id = format!("{}.{}", self.envs[env].ordinal, self.envs[env].steps + 1);
        self.frames.push(Frame { node, line, id, call, calls: HashMap::new(), forks: 0, open: true });
        let frame = self.frames.len() - 1;
        self.envs[env].open.push(frame);
        self.step(line, Status::Enter, frame, "");
        frame
    }

    fn recover(&mut self, line: LineNo) {
        let dead = self.lines[line].env;
        let open = std::mem::take(&mut self.envs[dead].open);
        self.lines[line].env = self.open_env(self.envs[dead].trace, Cause::Recovery, Some(dead));
        for frame in open {
            self.envs[self.lines[line].env].open.push(frame);
            self.step(line, Status::Enter, frame, " resumed");
        }
    }

    fn end(&mut self, frame: FrameNo, how: How) {
        let line = self.frames[frame].line;
        let kind = match how {
            How::Ok => None,
            How::Err => Some("Err"),
            How::Panic => Some("Panic"),
            How::Drop => Some("Cancelled"),
        };
        if self.envs[self.lines[line].env].dead && kind.is_none() {
            self.recover(line);
        }
        let env = self.lines[line].env;
        self.envs[env].open.retain(|open| *open != frame);
        self.frames[frame].open = false;
        match kind {
            None => self.step(line, Status::Exit, frame, ""),
            Some(kind) if self.envs[env].dead => {
                let (steps, id) = (self.envs[env].steps, &self.frames[frame].id);
                self.log.push(format!("e{env}@{steps} unwound {id} {kind}"));
            }
            Some(kind) => {
                self.step(line, Status::Error, frame, &format!(" {kind}"));
                self.envs[env].dead = true;
            }
        }
    }

    /// `None` where there is nothing to fork.
    fn fork(&mut self, at: At) -> Option<LineNo> {
        let line = self.line_of(at)?;
        let (parent, key, forks) = if let At::Frame(frame) = at {
            let forks = &mut self.frames[frame];
            (Some(frame), &forks.call.key, &mut forks.forks)
        } else {
            let line = &mut self.lines[line];
            (line.parent, &line.key, &mut line.forks)
        };
        let key = join(key, &format!("fork#{forks}"));
        *forks += 1;
        let env = self.lines[line].env;
        let fork = self.open_line(self.envs[env].trace, Cause::Fork, Some(env));
        (self.lines[fork].key, self.lines[fork].parent) = (key, parent);
        Some(fork)
    }

    /// How each trace stands once nothing of it is left.
    fn states(&self) -> Vec<TraceState> {
        let state = |(_, root): &(usize, LineNo)| {
            let last = &self.envs[self.lines[*root].env];
            // The first env of a trace has the number 0 in it; another one in its place is a recovery.
            match (last.dead, last.ordinal) {
                (true, _) => TraceState::Failed,
                (false, 0) => TraceState::Ok,
                (false, _) => TraceState::Recovered,
            }
        };
        self.traces.iter().map(state).collect()
    }
}

/// The records in the words of the model. Keys that were shortened are not compared.
fn log(records: &[Record]) -> Vec<String> {
    let mut envs = HashMap::new();
    let mut log = Vec::new();
    for record in records {
        let number = envs.len();
        let number = *envs.entry(record.env_id()).or_insert(number);
        let mut line = format!("e{number}");
        match record {
            Record::Env(env) => {
                write!(line, " {:?}", env.cause).unwrap();
                if let Some(parent) = env.parent_env {
                    write!(line, " of e{}@{}", envs[&parent], env.parent_step.unwrap()).unwrap();
                }
            }
            Record::Step(step) => {
                let (frame, parent) = (step.frame.unwrap(), step.parent.map_or("-".to_owned(), |id| id.to_string()));
                write!(line, ".{} {} {} frame {frame} of {parent}", step.step_id, step.status, step.node).unwrap();
                if step.resumed {
                    line += " resumed";
                }
                if let Some(error) = &step.error {
                    write!(line, " {:?}", error.kind).unwrap();
                }
                write!(line, " key {}", step.key.as_deref().unwrap()).unwrap();
            }
            Record::Note(NoteRecord { step_id, note: Note::Unwound { frame, error, .. }, .. }) => {
                write!(line, "@{step_id} unwound {frame} {error:?}").unwrap();
            }
            Record::Note(_) => panic!("no flow is declared here"),
        }
        log.push(line);
    }
    log
}

/// One operation. Numbers choose among what there is at the time.
#[derive(Debug, Clone)]
enum Op {
    /// An asynchronous function is called at a place and polled once.
    Enter { place: usize, node: usize },
    /// One is called and not polled yet.
    Call { place: usize, node: usize },
    /// Such a call is polled for the first time, at another place.
    Begin { call: usize, place: usize },
    /// Such a call is dropped.
    Forget { call: usize },
    /// A function ends, polled or dropped at some place.
    End { frame: usize, place: usize, how: How },
    /// `branch` at a place.
    Fork { place: usize },
    /// A branch is dropped.
    Prune { branch: usize },
    /// Synchronous functions, each called by the one before, end as they say, the last one first.
    Nest { place: usize, calls: Vec<(usize, How)> },
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![3 => Just(How::Ok), 2 => Just(How::Err), 1 => Just(How::Panic), 1 => Just(How::Drop)]
}

fn op() -> impl Strategy<Value = Op> {
    let (place, node) = (0..8_usize, 0..NAMES.len());
    prop_oneof![
        6 => (place.clone(), node.clone()).prop_map(|(place, node)| Op::Enter { place, node }),
        2 => (place.clone(), node.clone()).prop_map(|(place, node)| Op::Call { place, node }),
        2 => (0..4_usize, place.clone()).prop_map(|(call, place)| Op::Begin { call, place }),
        1 => (0..4_usize).prop_map(|call| Op::Forget { call }),
        6 => (0..8_usize, place.clone(), how()).prop_map(|(frame, place, how)| Op::End { frame, place, how }),
        2 => place.clone().prop_map(|place| Op::Fork { place }),
        1 => (0..4_usize).prop_map(|branch| Op::Prune { branch }),
        2 => (place, prop::collection::vec((node, how()), 1..4)).prop_map(|(place, calls)| Op::Nest { place, calls }),
    ]
}

type Running = Pin<Box<dyn Future<Output = Result<(), Failed>>>>;
type Act = Box<dyn FnOnce() -> Poll<Result<(), Failed>>>;

/// The runtime, moved by hand: each function does at a poll what it was told to.
#[derive(Default)]
struct Puppets {
    act: Rc<RefCell<Option<Act>>>,
    /// The function or branch, and where the model has it.
    running: Vec<(Running, At)>,
    calls: Vec<(Running, At, usize, Option<Call>)>,
}

impl Puppets {
    fn body(&self) -> impl Future<Output = Result<(), Failed>> + use<> {
        let act = self.act.clone();
        poll_fn(move |_| act.take().expect("polled only to act")())
    }

    /// Polls once. A panic is given back.
    fn poll(&self, future: &mut Running, act: Act) -> std::thread::Result<Poll<Result<(), Failed>>> {
        self.act.replace(Some(act));
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
        assert!(self.act.take().is_none(), "it has acted");
        polled
    }

    /// 0 is nowhere; the others are open functions and branches.
    fn choose(&self, place: usize) -> Option<usize> {
        (place % (self.running.len() + 1)).checked_sub(1)
    }

    fn at(&self, place: Option<usize>) -> At {
        place.map_or(At::Nowhere, |place| self.running[place].1)
    }

    /// Does something at a place.
    fn within<T: 'static>(&mut self, place: Option<usize>, work: impl FnOnce() -> T + 'static) -> T {
        let Some(place) = place else { return work() };
        let done = Rc::new(RefCell::new(None));
        let slot = done.clone();
        let (mut future, at) = self.running.swap_remove(place);
        let polled = self.poll(
            &mut future,
            Box::new(move || {
                slot.replace(Some(work()));
                Poll::Pending
            }),
        );
        assert!(matches!(polled, Ok(Poll::Pending)));
        self.running.push((future, at));
        let last = self.running.len() - 1;
        self.running.swap(place, last);
        done.take().expect("done")
    }

    /// Lets a call begin at a place.
    fn begin(&mut self, place: Option<usize>, mut future: Running) -> Running {
        let act = self.act.clone();
        self.within(place, move || {
            act.replace(Some(Box::new(|| Poll::Pending)));
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            future
        })
    }
}

fn nest(calls: &[(usize, How)]) -> Result<(), Failed> {
    let Some(((node, how), inner)) = calls.split_first() else { return Ok(()) };
    call(&SITES[*node], || {
        // What comes from inside is caught, so every call is free to end as it likes.
        catch_unwind(|| nest(inner)).ok();
        match how {
            How::Ok | How::Drop => Ok(()),
            How::Err => Err(Failed),
            How::Panic => resume_unwind(Box::new(())),
        }
    })
}

fn model_nest(model: &mut Model, at: At, calls: &[(usize, How)]) {
    let Some(((node, how), inner)) = calls.split_first() else { return };
    let call = model.call(at, *node);
    let frame = model.enter(at, call, *node);
    model_nest(model, At::Frame(frame), inner);
    model.end(frame, if *how == How::Drop { How::Ok } else { *how });
}

/// Does one operation to both.
fn apply(op: &Op, model: &mut Model, puppets: &mut Puppets) {
    match *op {
        Op::Enter { place, node } => {
            let place = puppets.choose(place);
            let at = puppets.at(place);
            let future = call_boxed(puppets, place, node);
            let future = puppets.begin(place, future);
            let call = model.call(at, node);
            let frame = model.enter(at, call, node);
            puppets.running.push((future, At::Frame(frame)));
        }
        Op::Call { place, node } => {
            let place = puppets.choose(place);
            let at = puppets.at(place);
            let future = call_boxed(puppets, place, node);
            puppets.calls.push((future, at, node, model.call(at, node)));
        }
        Op::Begin { call, place } if !puppets.calls.is_empty() => {
            let call = call % puppets.calls.len();
            let (future, called, node, counted) = puppets.calls.remove(call);
            let place = puppets.choose(place);
            let here = puppets.at(place);
            let future = puppets.begin(place, future);
            // A future goes on where it is polled, if that is in the trace where it was called.
            let stays = called != At::Nowhere && model.trace_of(called) != model.trace_of(here);
            let frame = model.enter(if stays { called } else { here }, counted, node);
            puppets.running.push((future, At::Frame(frame)));
        }
        Op::Forget { call } if !puppets.calls.is_empty() => {
            let call = call % puppets.calls.len();
            drop(puppets.calls.remove(call));
        }
        Op::End { frame, place, how } if !puppets.running.is_empty() => {
            let frame = frame % puppets.running.len();
            let (mut future, at) = puppets.running.remove(frame);
            let At::Frame(frame) = at else {
                puppets.running.push((future, at));
                return;
            };
            let act = puppets.act.clone();
            let place = puppets.choose(place);
            puppets.within(place, move || {
                let end: Act = match how {
                    How::Ok => Box::new(|| Poll::Ready(Ok(()))),
                    How::Err => Box::new(|| Poll::Ready(Err(Failed))),
                    How::Panic => Box::new(|| resume_unwind(Box::new(()))),
                    How::Drop => return drop(future),
                };
                act.replace(Some(end));
                let polled =
                    catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
                assert!(!matches!(polled, Ok(Poll::Pending)));
            });
            model.end(frame, how);
        }
        Op::Fork { place } => {
            let place = puppets.choose(place);
            let body = puppets.body();
            let branch: Running = puppets.within(place, move || Box::pin(tracer::branch(body)));
            if let Some(line) = model.fork(puppets.at(place)) {
                puppets.running.push((branch, At::Base(line)));
            }
        }
        Op::Prune { branch } => {
            let mut branches = (0..puppets.running.len()).filter(|at| matches!(puppets.running[*at].1, At::Base(_)));
            if let Some(branch) = branches.nth(branch) {
                drop(puppets.running.remove(branch));
            }
        }
        Op::Nest { place, ref calls } => {
            let place = puppets.choose(place);
            model_nest(model, puppets.at(place), calls);
            let calls = calls.clone();
            puppets.within(place, move || catch_unwind(|| nest(&calls)).ok());
        }
        Op::Begin { .. } | Op::Forget { .. } | Op::End { .. } => {}
    }
}

fn call_boxed(puppets: &mut Puppets, place: Option<usize>, node: usize) -> Running {
    let body = puppets.body();
    puppets.within(place, move || Box::pin(call_async(&SITES[node], body)) as Running)
}

fn history(ops: &[Op]) {
    let mut model = Model::default();
    let tracer = Tracer::builder().build();
    let seen = tracer::test::record_with(tracer.clone(), || {
        let mut puppets = Puppets::default();
        for (number, op) in ops.iter().enumerate() {
            apply(op, &mut model, &mut puppets);
            if number % 8 == 0 {
                check::check(&tracer.all_traces(), Finished::NotYet);
            }
            assert_eq!(tracer::current_trace_id(), None, "no poll leaves anything behind");
        }
        puppets.calls.clear();
        for (future, at) in puppets.running.drain(..) {
            drop(future);
            if let At::Frame(frame) = at {
                model.end(frame, How::Drop);
            }
        }
    });
    let records = seen.records();
    let (expected, found) = (model.log.join("\n"), log(&records).join("\n"));
    assert!(expected == found, "expected\n{expected}\nfound\n{found}");
    check::check(&records, Finished::Yes);
    let stats = seen.stats();
    assert_eq!((stats.active_traces, seen.tracer().active_traces()), (0, Vec::new()));
    assert_eq!(stats.traces.iter().map(|trace| trace.state).collect::<Vec<_>>(), model.states());
}

proptest! {
    #![proptest_config(random::config(1500, "model"))]

    #[test]
    fn any_history_goes_as_the_table_says(ops in prop::collection::vec(op(), 1..40)) {
        history(&ops);
    }
}
