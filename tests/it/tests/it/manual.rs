//! The manual API against the rules, written down naively: what is refused, in which order, and that a refusal leaves
//! no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier};

use proptest::prelude::*;
use serde_json::json;
use tracer::__private::{Outcome, Recorded, enter};
use tracer::{Context, GuardError, ManualClock, Record, Status, StrictEnv, Tracer};

use crate::nodes::{NAMES, SITES};
use crate::random;

const STATUSES: [Status; 3] = [Status::Enter, Status::Exit, Status::Error];
const BAD_NAMES: [&str; 7] = ["", "A", "9a", "has space", "idle", "naïve", "enter"];

/// What the rules know of an env.
#[derive(Debug, Default)]
struct Env {
    trace: usize,
    steps: u64,
    entered: BTreeSet<&'static str>,
    terminal: bool,
    /// Traced functions take its steps.
    automatic: bool,
    /// Forgotten, with its trace.
    cleared: bool,
    log: Vec<(&'static str, Status)>,
}

/// A position that somebody holds.
#[derive(Debug, Clone, Copy)]
struct Position {
    env: usize,
    step: u64,
}

#[derive(Debug, Default)]
struct Rules {
    envs: Vec<Env>,
    traces: usize,
}

impl Rules {
    fn create(&mut self) -> Position {
        self.traces += 1;
        self.env(self.traces - 1)
    }

    fn env(&mut self, trace: usize) -> Position {
        let cleared = self.envs.iter().any(|env| env.trace == trace && env.cleared);
        self.envs.push(Env { trace, cleared, ..Env::default() });
        Position { env: self.envs.len() - 1, step: 0 }
    }

    fn fork(&mut self, at: Position) -> Position {
        self.env(self.envs[at.env].trace)
    }

    fn step(&mut self, at: Position, node: &'static str, status: Status) -> Result<Position, &'static str> {
        if BAD_NAMES.contains(&node) {
            return Err("INVALID_NODE_NAME");
        }
        if self.envs[at.env].cleared {
            return Err("UNKNOWN_TRACE");
        }
        if self.envs[at.env].automatic {
            // The step is the first of a fork, if it can be.
            if status != Status::Enter {
                return Err("INVALID_TRANSITION");
            }
            let fork = self.fork(at);
            return self.step(fork, node, status);
        }
        let env = &mut self.envs[at.env];
        if at.step != env.steps {
            return Err("STEP_OUT_OF_ORDER");
        }
        if env.terminal {
            return Err("TRACE_TERMINATED");
        }
        if env.entered.contains(node) != (status != Status::Enter) {
            return Err("INVALID_TRANSITION");
        }
        match status {
            Status::Enter => drop(env.entered.insert(node)),
            Status::Exit | Status::Error => drop(env.entered.remove(node)),
        }
        env.terminal = status == Status::Error;
        env.steps += 1;
        env.log.push((node, status));
        Ok(Position { env: at.env, step: env.steps })
    }

    /// A token of the trace of one env with another env in it and some step.
    fn resume(&self, trace_of: usize, env: usize, step: u64) -> Result<Position, &'static str> {
        if self.envs[trace_of].cleared {
            return Err("UNKNOWN_TRACE");
        }
        if self.envs[env].trace != self.envs[trace_of].trace {
            return Err("ENV_MISMATCH");
        }
        if self.envs[env].steps != step {
            return Err("STEP_OUT_OF_ORDER");
        }
        Ok(Position { env, step })
    }
}

#[derive(Debug, Clone)]
enum Op {
    Create,
    Step {
        context: usize,
        name: Result<usize, usize>,
        status: usize,
    },
    Fork {
        context: usize,
    },
    Drop {
        context: usize,
    },
    /// A token made of the ids of two contexts, at the step of the second one or beside it.
    Resume {
        trace: usize,
        env: usize,
        ahead: u64,
    },
    /// The context is given to a traced function.
    Automatic {
        context: usize,
    },
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let context = || 0..6_usize;
    let name = prop_oneof![12 => (0..3_usize).prop_map(Ok), 1 => (0..BAD_NAMES.len()).prop_map(Err)];
    // Enter and exit more often than error, after which there is little to see.
    let status = prop_oneof![5 => Just(0_usize), 4 => Just(1), 1 => Just(2)];
    prop_oneof![
        2 => Just(Op::Create),
        20 => (context(), name, status).prop_map(|(context, name, status)| Op::Step { context, name, status }),
        2 => context().prop_map(|context| Op::Fork { context }),
        1 => context().prop_map(|context| Op::Drop { context }),
        5 => (context(), context(), prop_oneof![4 => Just(0), 1 => 1..3_u64])
            .prop_map(|(trace, env, ahead)| Op::Resume { trace, env, ahead }),
        1 => context().prop_map(|context| Op::Automatic { context }),
        1 => prop::bool::weighted(0.1).prop_map(|clear| if clear { Op::Clear } else { Op::Create }),
    ]
}

/// Contexts with where the rules have them.
struct Driver {
    tracer: Tracer,
    rules: Rules,
    held: Vec<(Option<Context>, Position)>,
}

impl Driver {
    fn choose(&self, context: usize) -> Option<usize> {
        context.checked_rem(self.held.len())
    }

    /// The ids of the env, as its contexts say them.
    fn token(&self, trace: usize, env: usize, step: u64) -> String {
        let id = |held: usize| self.held[held].0.as_ref().expect("held between operations");
        format!("v1.{:x}.{:x}.{step}", id(trace).trace_id(), id(env).env_id())
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create => {
                let ctx = self.tracer.create_env(json!({"number": self.held.len()}), "random");
                let position = self.rules.create();
                self.held.push((Some(ctx), position));
            }
            Op::Step { context, name, status } => {
                let Some(context) = self.choose(context) else { return };
                let node = name.map_or_else(|bad| BAD_NAMES[bad], |good| NAMES[good]);
                self.step(context, node, STATUSES[status]);
            }
            Op::Fork { context } => {
                let Some(context) = self.choose(context) else { return };
                let (ctx, position) = &self.held[context];
                let fork = ctx.as_ref().expect("held").fork();
                let position = self.rules.fork(*position);
                self.held.push((Some(fork), position));
            }
            Op::Drop { context } => {
                if let Some(context) = self.choose(context) {
                    self.held.swap_remove(context);
                }
            }
            Op::Resume { trace, env, ahead } => {
                let (Some(trace), Some(env)) = (self.choose(trace), self.choose(env)) else { return };
                let (trace_of, at) = (self.held[trace].1.env, self.held[env].1);
                let step = at.step + ahead;
                let before = self.tracer.all_traces();
                let resumed = self.tracer.resume(self.token(trace, env, step).into());
                match (resumed, self.rules.resume(trace_of, at.env, step)) {
                    (Ok(ctx), Ok(position)) => {
                        assert_eq!(ctx.token().to_string(), self.token(trace, env, step));
                        self.held.push((Some(ctx), position));
                    }
                    (Err(refused), Err(code)) => assert_eq!(refused.code(), code, "{refused}"),
                    (found, expected) => panic!("expected {expected:?}, found {found:?}"),
                }
                assert_eq!(self.tracer.all_traces(), before, "a token records nothing");
            }
            Op::Automatic { context } => {
                let Some(context) = self.choose(context) else { return };
                let (ctx, position) = &self.held[context];
                enter(&SITES[4], ctx.as_ref(), Recorded::none()).end(Outcome::ok());
                let env = &mut self.rules.envs[position.env];
                env.automatic |= env.steps == 0;
            }
            Op::Clear => {
                self.tracer.clear();
                self.rules.envs.iter_mut().for_each(|env| env.cleared = true);
                assert_eq!(self.tracer.all_traces(), []);
            }
        }
    }

    fn step(&mut self, held: usize, node: &'static str, status: Status) {
        let ctx = self.held[held].0.take().expect("held between operations");
        let before = (self.tracer.all_traces(), ctx.token(), ctx.source().to_owned());
        let expected = self.rules.step(self.held[held].1, node, status);
        match (ctx.step(node, status, json!([node])), expected) {
            (Ok(ctx), Ok(position)) => {
                assert_eq!(ctx.step_id(), position.step);
                self.held[held] = (Some(ctx), position);
            }
            (Err(refused), Err(code)) => {
                assert_eq!(refused.code(), code, "{refused}");
                assert_eq!(self.tracer.all_traces(), before.0, "a refusal records nothing");
                let ctx = refused.into_context().expect("a refused step gives its context back");
                assert_eq!((ctx.token(), ctx.source()), (before.1, &*before.2), "as it was");
                self.held[held].0 = Some(ctx);
            }
            (found, expected) => panic!("expected {expected:?}, found {found:?} for {status} of `{node}`"),
        }
    }

    /// What is held is what the rules let pass.
    fn compare(&self) {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let records = self.tracer.all_traces();
        for record in &records {
            match record {
                Record::Env(env) => drop(found.insert(env.env_id, Vec::new())),
                Record::Step(step) => {
                    found.get_mut(&step.env_id).expect("an env comes before its steps").push(step);
                }
                Record::Note(note) => panic!("{note:?}"),
            }
        }
        let mut logs = Vec::new();
        for steps in found.values() {
            let mut state = StrictEnv::default();
            for step in steps {
                assert_eq!(state.step(step.step_id - 1, &step.node, step.status), Ok(step.step_id));
                assert_eq!(step.frame.is_some(), steps[0].frame.is_some(), "by hand or not, never both: {steps:?}");
                assert_eq!(step.meta, if step.frame.is_some() { json!(null) } else { json!([step.node]) });
            }
            logs.push(steps.iter().map(|step| (&*step.node, step.status)).collect::<Vec<_>>());
        }
        logs.retain(|log| !log.is_empty() && log[0].0 != NAMES[4]);
        let left = self.rules.envs.iter().filter(|env| !env.cleared && !env.log.is_empty());
        let mut expected: Vec<_> = left.map(|env| env.log.clone()).collect();
        logs.sort_unstable_by_key(|log| format!("{log:?}"));
        expected.sort_unstable_by_key(|log| format!("{log:?}"));
        assert_eq!(logs, expected);
    }
}

proptest! {
    #![proptest_config(random::config(600, "manual"))]

    #[test]
    fn any_operations_go_as_the_rules_say(ops in prop::collection::vec(op(), 1..60)) {
        let tracer = Tracer::builder().clock(ManualClock::default()).build();
        let mut driver = Driver { tracer, rules: Rules::default(), held: Vec::new() };
        for op in &ops {
            driver.apply(op);
        }
        driver.compare();
        driver.held.clear();
        // What has no step yet has not begun, and is not over either.
        let stepped = |trace: &tracer::TraceStats| trace.steps > 0;
        let stats = driver.tracer.stats();
        let over: Vec<_> = stats.traces.iter().filter(|trace| stepped(trace)).map(|trace| trace.trace_id).collect();
        let active = driver.tracer.active_traces();
        prop_assert!(!over.iter().any(|trace| active.contains(trace)), "{over:?} {active:?}");
    }
}

#[track_caller]
fn refuses<T: std::fmt::Debug>(result: Result<T, GuardError>, code: &str, says: &str) -> Option<Context> {
    let refused = result.expect_err("refused");
    assert_eq!((refused.code(), &*refused.to_string()), (code, &*format!("{says} [{code}]")));
    refused.into_context()
}

#[test]
fn each_guard_says_what_it_expected_and_what_it_found() {
    let tracer = Tracer::builder().build();
    let ctx = tracer.create_env((), "test");
    let (trace, env, token) = (ctx.trace_id(), ctx.env_id(), ctx.token());

    let reserved = "`idle` is no node name: this name is reserved (enter, exit, error, idle, root, fork): the trace \
                    uses it for its own steps";
    let ctx = refuses(ctx.step("idle", Status::Enter, ()), "INVALID_NODE_NAME", reserved).unwrap();
    assert_eq!(tracer.trees()[0].to_string(), "test (no calls)\n");
    let escaped = r"`a\u{0}` is no node name: ";
    let refused = ctx.step("a\0", Status::Enter, ()).unwrap_err();
    assert!(refused.to_string().starts_with(escaped), "{refused}");
    let ctx = refused.into_context().unwrap();
    let idle = "invalid transition: expected enter of `a`, which is idle, found exit";
    let ctx = refuses(ctx.step("a", Status::Exit, ()), "INVALID_TRANSITION", idle).unwrap();
    let ctx = ctx.step("a", Status::Enter, ()).unwrap();
    let entered = "invalid transition: expected exit or error of `a`, which is entered, found enter";
    let ctx = refuses(ctx.step("a", Status::Enter, ()), "INVALID_TRANSITION", entered).unwrap();
    let used = "step out of order: expected to go on after step 1, found a context at step 0: it was used already";
    assert!(refuses(tracer.resume(token), "STEP_OUT_OF_ORDER", used).is_none());
    let ahead =
        "step out of order: expected to go on after step 1, found a context at step 7: it is ahead of the trace";
    assert!(refuses(tracer.resume(format!("v1.{trace:x}.{env:x}.7").into()), "STEP_OUT_OF_ORDER", ahead).is_none());
    let ctx = ctx.step("a", Status::Error, ()).unwrap();
    let ended = "the env has ended: expected no step after the error of `a` (step 2), found enter of `b`";
    let ctx = refuses(ctx.step("b", Status::Enter, ()), "TRACE_TERMINATED", ended).unwrap();

    let other = tracer.create_env((), "other");
    let foreign = format!("v1.{trace:x}.{:x}.0", other.env_id());
    let mismatch = format!("expected an env of trace {trace}, found {}, which is none of its 1", other.env_id());
    assert!(refuses(tracer.resume(foreign.into()), "ENV_MISMATCH", &mismatch).is_none());
    tracer.clear();
    let unknown =
        format!("trace {trace} is not known here: it was made by another process or tracer, cleared or evicted");
    assert!(refuses(ctx.step("a", Status::Enter, ()), "UNKNOWN_TRACE", &unknown).is_some());
}

/// Each guard is asked before the next: a step that breaks several rules is refused for the first.
#[test]
fn guards_are_asked_in_their_order() {
    let tracer = Tracer::builder().build();
    let ctx = tracer.create_env((), "test");
    let stale = tracer.resume(ctx.token()).unwrap();
    let ctx = ctx.step("a", Status::Enter, ()).unwrap().step("a", Status::Error, ()).unwrap();
    let code = |result: Result<Context, GuardError>| {
        let refused = result.unwrap_err();
        (refused.code(), refused.into_context())
    };
    // Idle, and after an error: terminated.
    let (found, ctx) = code(ctx.step("a", Status::Exit, ()));
    assert_eq!(found, "TRACE_TERMINATED");
    // Likewise, and stale.
    let (found, stale) = code(stale.step("a", Status::Exit, ()));
    assert_eq!(found, "STEP_OUT_OF_ORDER");
    // Likewise, and of a trace that is not known any more.
    let other = tracer.create_env((), "other");
    let foreign_and_stale = format!("v1.{:x}.{:x}.9", other.trace_id(), ctx.unwrap().env_id());
    assert_eq!(code(tracer.resume(foreign_and_stale.as_str().into())).0, "ENV_MISMATCH");
    tracer.clear();
    assert_eq!(code(tracer.resume(foreign_and_stale.into())).0, "UNKNOWN_TRACE");
    let (found, stale) = code(stale.unwrap().step("a", Status::Exit, ()));
    assert_eq!(found, "UNKNOWN_TRACE");
    // Likewise, under no possible name.
    assert_eq!(code(stale.unwrap().step("A", Status::Exit, ())).0, "INVALID_NODE_NAME");
    assert_eq!(code(tracer.resume("v1.unknown".into())).0, "INVALID_CONTEXT");
    assert_eq!(tracer.all_traces(), []);
}

/// The guards still know the env then; the records do not.
#[test]
fn what_was_evicted_is_not_known_any_more() {
    let tracer = Tracer::builder().max_bytes(0).build();
    let ctx = tracer.create_env((), "failed").step("a", Status::Enter, ()).unwrap();
    let ctx = ctx.step("a", Status::Error, ()).unwrap();
    let done = tracer.create_env((), "done").step("a", Status::Enter, ()).unwrap();
    let token = done.step("a", Status::Exit, ()).unwrap().token();
    while !tracer.replay(ctx.trace_id()).is_empty() {
        drop(tracer.create_env((), "later").step("a", Status::Enter, ()).unwrap());
    }
    let before = tracer.all_traces();
    let refused = ctx.step("b", Status::Enter, ()).unwrap_err();
    assert_eq!(refused.code(), "UNKNOWN_TRACE", "{refused}");
    assert_eq!(tracer.resume(token).unwrap_err().code(), "UNKNOWN_TRACE");
    assert_eq!(tracer.all_traces(), before);
}

#[test]
fn of_two_threads_with_one_token_one_wins() {
    let tracer = Tracer::builder().build();
    let barrier = Arc::new(Barrier::new(2));
    for round in 0..1000 {
        let ctx = tracer.create_env(round, "race");
        let token = ctx.token();
        let race = |tracer: Tracer, barrier: Arc<Barrier>| {
            let token = token.clone();
            move || {
                // Half of the rounds race for the token, half for the step.
                let ctx = if round % 2 == 0 { Some(tracer.resume(token.clone()).unwrap()) } else { None };
                barrier.wait();
                let ctx = ctx.map_or_else(|| tracer.resume(token), Ok)?;
                ctx.step("a", Status::Enter, ())
            }
        };
        let other = std::thread::spawn(race(tracer.clone(), barrier.clone()));
        let results = [race(tracer.clone(), barrier.clone())(), other.join().unwrap()];
        let codes: Vec<_> = results.iter().filter_map(|result| Some(result.as_ref().err()?.code())).collect();
        assert_eq!(codes, ["STEP_OUT_OF_ORDER"], "one wins, one does not");
        assert_eq!(tracer.replay(ctx.trace_id()).len(), 2);
    }
}

#[test]
fn steps_by_hand_and_traced_functions_never_share_an_env() {
    let tracer = Tracer::builder().build();
    let ctx = tracer.create_env((), "both");
    let env = ctx.env_id();
    enter(&SITES[0], Some(&ctx), Recorded::none()).end(Outcome::ok());
    let ctx = ctx.step("by-hand", Status::Enter, ()).unwrap();
    assert_ne!(ctx.env_id(), env, "the step went into a fork");
    enter(&SITES[1], Some(&ctx), Recorded::none()).end(Outcome::ok());
    let ctx = ctx.step("by-hand", Status::Exit, ()).unwrap();
    assert_eq!(ctx.step_id(), 2, "the traced function did not get in between");
    let steps = tracer.all_traces();
    let steps: Vec<_> = steps.iter().filter_map(Record::as_step).collect();
    let envs: BTreeSet<_> = steps.iter().map(|step| step.env_id).collect();
    assert_eq!((steps.len(), envs.len()), (6, 3));
}
