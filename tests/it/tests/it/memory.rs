//! The bounded memory: what goes, in which order, what stays, and that the books are right.
//!
//! Beside the memory under test, each tracer here has one that is large enough to keep everything: the truth.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Poll, Waker};

use proptest::prelude::*;
use tracer::test::record_with;
use tracer::{Context, Memory, Record, Recorder, Status, StepRecord, TraceId, Tracer};

use crate::check;
use crate::nodes::{Failed, NAMES, SITES, call, call_async};
use crate::random;
use crate::recorders::{Kept, memory};

/// The least that a memory takes.
const BOUND: usize = 128 * 1024;
/// How many entries of 64 bytes that is. Envs, traces and values take of it too, so fewer are held.
const ENTRIES_MAX: usize = BOUND / 64;

struct Books {
    tracer: Tracer,
    bounded: Kept<Memory>,
    truth: Kept<Memory>,
}

impl Books {
    fn open() -> Self {
        let (bounded, truth) = (memory(BOUND), memory(1 << 30));
        let tracer = Tracer::builder().recorder(bounded.clone()).recorder(truth.clone()).build();
        Self { tracer, bounded, truth }
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        record_with(self.tracer.clone(), work).output
    }

    /// What must be so at any time, while no thread writes.
    #[track_caller]
    fn audit(&self) {
        let (made, held) = (self.truth.all(), self.bounded.all());
        assert_eq!(self.truth.dropped(), 0);
        assert_eq!(made.len() as u64, held.len() as u64 + self.bounded.dropped(), "records made = held + dropped");
        assert!(held.len() <= ENTRIES_MAX, "{} records in the place of {ENTRIES_MAX}", held.len());
        let held: BTreeMap<TraceId, Vec<&Record>> = by_trace(&held);
        let running: HashSet<TraceId> = self.bounded.running().into_iter().collect();
        assert_eq!(running, self.truth.running().into_iter().collect());
        let made = by_trace(&made);
        for (trace, made) in &made {
            match held.get(trace) {
                // What is finished was trimmed before, while it ran and too much did, or is whole.
                Some(held) if held.len() < made.len() => trimmed(made, held),
                Some(held) => assert_eq!(seqs(held), seqs(made)),
                None => assert!(!running.contains(trace), "what runs is never gone"),
            }
        }
        for trace in self.tracer.stats().traces {
            let steps = |records: &[&Record]| records.iter().filter(|record| record.as_step().is_some()).count() as u64;
            let (made, held) = (&made[&trace.trace_id], &held[&trace.trace_id]);
            let missing = steps(made) - steps(held);
            // Only gaps are known to be missing: where several traces run, the newest steps of one may be the oldest.
            assert!(trace.lost <= missing, "{trace:?} lacks {missing}");
        }
    }
}

fn by_trace(records: &[Record]) -> BTreeMap<TraceId, Vec<&Record>> {
    let mut traces: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        traces.entry(record.trace_id()).or_default().push(record);
    }
    traces
}

fn seqs(records: &[&Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq()).collect()
}

/// Of a trace that outgrew the bound: its envs, its errors and its open frames.
fn trimmed(made: &[&Record], held: &[&Record]) {
    let is_kept = |record: &&&Record| match record {
        Record::Step(step) => step.status == Status::Error,
        _ => true,
    };
    let kept = |records: &[&Record]| records.iter().filter(is_kept).map(|record| record.seq()).collect::<Vec<_>>();
    assert_eq!(kept(held), kept(made), "its envs, its errors and its notes");
    assert_eq!(open(held), open(made), "its open frames, and none that has ended");
    for (held, made) in held.iter().filter_map(|held| Some((held, made.iter().find(|made| made.seq() == held.seq())?)))
    {
        assert_eq!((held.env_id(), name(held)), (made.env_id(), name(made)));
    }
}

fn name(record: &Record) -> Option<&str> {
    record.as_step().map(|step| &*step.node)
}

/// What is entered and not ended, in the envs that go on.
fn open(records: &[&Record]) -> BTreeSet<String> {
    let of = |step: &StepRecord| match step.frame {
        Some(frame) => frame.to_string(),
        None => format!("{} {}", step.env_id, step.node),
    };
    let mut open = BTreeSet::new();
    for record in records {
        match record {
            Record::Step(step) if step.status == Status::Enter => drop(open.insert(of(step))),
            Record::Step(step) => drop(open.remove(&of(step))),
            Record::Note(note) => {
                if let tracer::Note::Unwound { frame, .. } = note.note {
                    open.remove(&frame.to_string());
                }
            }
            Record::Env(_) => {}
        }
    }
    open
}

type Act = Box<dyn FnOnce()>;

/// A function that stays open and does what it is told at each poll.
struct Open {
    act: Rc<RefCell<Option<Act>>>,
    future: Pin<Box<dyn Future<Output = Result<(), Failed>>>>,
}

impl Open {
    fn call(node: usize) -> Self {
        let act: Rc<RefCell<Option<Act>>> = Rc::default();
        let told = act.clone();
        let body = poll_fn(move |_| {
            told.take().expect("polled only to act")();
            Poll::Pending
        });
        Self { act, future: Box::pin(call_async(&SITES[node], body)) }
    }

    fn act(&mut self, act: impl FnOnce() + 'static) {
        self.act.replace(Some(Box::new(act)));
        assert!(self.future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending());
    }
}

fn calls(count: usize) {
    for n in 0..count {
        call(&SITES[1], || call(&SITES[2 + n % 3], || Ok(()))).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// A trace of so many calls, begun and ended.
    Short(usize),
    /// Calls in a function that stays open.
    Long {
        which: usize,
        calls: usize,
        fails: bool,
    },
    /// Steps by hand in a trace that goes on, each with so many bytes.
    Manual {
        which: usize,
        steps: usize,
        bytes: usize,
    },
    End {
        which: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let which = || 0..3_usize;
    prop_oneof![
        4 => (1..200_usize).prop_map(Op::Short),
        3 => (which(), 1..300_usize, prop::bool::weighted(0.2))
            .prop_map(|(which, calls, fails)| Op::Long { which, calls, fails }),
        2 => (which(), 1..100_usize, prop_oneof![Just(0), Just(0), 0..200_usize])
            .prop_map(|(which, steps, bytes)| Op::Manual { which, steps, bytes }),
        1 => which().prop_map(|which| Op::End { which }),
    ]
}

proptest! {
    #![proptest_config(random::config(24, "memory"))]

    #[test]
    fn any_mix_of_traces_keeps_the_books(ops in prop::collection::vec(op(), 1..40)) {
        let books = Books::open();
        let mut long: [Option<Open>; 3] = Default::default();
        let mut manual: [Option<Context>; 3] = Default::default();
        books.run(|| {
            for (number, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Short(count) => call(&SITES[0], || {
                        calls(count);
                        Ok(())
                    }).unwrap(),
                    Op::Long { which, calls: count, fails } => {
                        long[which].get_or_insert_with(|| Open::call(0)).act(move || {
                            calls(count);
                            if fails {
                                call(&SITES[1], || Err(Failed)).unwrap_err();
                            }
                        });
                    }
                    Op::Manual { which, steps, bytes } => {
                        let ctx = manual[which].take().unwrap_or_else(|| books.tracer.create_env((), "manual"));
                        manual[which] = Some(by_hand(ctx, steps, bytes));
                    }
                    Op::End { which } => {
                        long[which] = None;
                        manual[which] = None;
                    }
                }
                if number % 4 == 0 {
                    books.audit();
                }
            }
            drop((long, manual));
        });
        books.audit();
    }
}

/// Goes on with one node open all the time, and two in each other's way.
fn by_hand(mut ctx: Context, steps: usize, bytes: usize) -> Context {
    let meta = "x".repeat(bytes);
    for _ in 0..steps {
        let (node, status) = match ctx.step_id() {
            0 => (NAMES[0], Status::Enter),
            n if n % 4 == 1 => (NAMES[1], Status::Enter),
            n if n % 4 == 2 => (NAMES[2], Status::Enter),
            n if n % 4 == 3 => (NAMES[1], Status::Exit),
            _ => (NAMES[2], Status::Exit),
        };
        ctx = ctx.step(node, status, &meta).unwrap();
    }
    ctx
}

#[test]
fn the_oldest_finished_traces_go_first() {
    let books = Books::open();
    let mut made = Vec::new();
    for round in 0..300 {
        books.run(|| {
            call(&SITES[0], || {
                made.push(tracer::current_trace_id().unwrap());
                calls(round % 37);
                Ok(())
            })
            .unwrap();
        });
        let held: BTreeSet<_> = books.bounded.all().iter().map(Record::trace_id).collect();
        let newest: BTreeSet<_> = made[made.len() - held.len()..].iter().copied().collect();
        assert_eq!(held, newest, "the newest, without a gap");
    }
    assert!(books.bounded.dropped() > 0);
    assert!(books.bounded.all().len() > ENTRIES_MAX / 2, "no more goes than must");
    books.audit();
}

#[test]
fn a_running_trace_that_outgrows_the_bound_keeps_what_matters() {
    let books = Books::open();
    books.run(|| {
        let mut batch = Open::call(0);
        for round in 0..60 {
            batch.act(move || {
                calls(100);
                if round % 20 == 0 {
                    call(&SITES[1], || Err(Failed)).unwrap_err();
                }
            });
            if round % 20 == 0 {
                books.audit();
                let (made, held) = (books.truth.all(), books.bounded.all());
                let newest = |records: &[Record]| records.iter().rev().take(256).map(Record::seq).collect::<Vec<_>>();
                assert_eq!(newest(&held), newest(&made), "its newest records");
            }
        }
        books.audit();
        let stats = books.tracer.stats();
        let steps = |records: Vec<Record>| records.iter().filter(|record| record.as_step().is_some()).count() as u64;
        assert_eq!(stats.traces[0].lost, steps(books.truth.all()) - steps(books.bounded.all()), "stats say how many");
        assert!(stats.traces[0].lost > 20_000, "{stats:?}");
        assert_eq!((stats.active_traces, stats.traces[0].envs), (1, 4));
        drop(batch);
    });
    books.audit();
}

/// A thread that goes leaves a chunk behind; whoever comes next goes on with it, and full ones are evicted.
#[test]
fn threads_that_come_and_go_leave_nothing_that_cannot_be_evicted() {
    // Entries of one trace: its env, its steps, its end. 127 calls fill a chunk to the brim.
    for calls_each in [1, 126, 127, 128] {
        let books = Arc::new(Books::open());
        for round in 0..30 {
            let shared = books.clone();
            std::thread::spawn(move || {
                shared.run(|| {
                    for _ in 0..3 {
                        let trace = || (0..calls_each / 2).try_for_each(|_| call(&SITES[1], || Ok(())));
                        call(&SITES[0], trace).unwrap();
                    }
                    call(&SITES[0], || (1..calls_each).try_for_each(|_| call(&SITES[1], || Ok(())))).unwrap();
                });
            })
            .join()
            .unwrap();
            if round % 5 == 4 {
                books.audit();
            }
        }
    }
}

#[test]
fn threads_that_leave_all_at_once_do_not_crowd_out_who_stays() {
    let books = Arc::new(Books::open());
    let barrier = Arc::new(Barrier::new(60));
    let threads: Vec<_> = (0..60)
        .map(|_| {
            let (books, barrier) = (books.clone(), barrier.clone());
            std::thread::spawn(move || {
                books.run(|| {
                    call(&SITES[0], || Ok(())).unwrap();
                    barrier.wait();
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    books.run(|| {
        for _ in 0..1000 {
            call(&SITES[1], || Ok(())).unwrap();
        }
    });
    books.audit();
    let held = books.bounded.all();
    let newest = held.iter().filter(|record| name(record) == Some(NAMES[1])).count();
    assert!(newest > ENTRIES_MAX / 8, "{newest} steps of who stays");
}

/// Readers see of each env its beginning without a gap, however it goes from thread to thread meanwhile.
#[test]
fn readers_see_a_prefix_of_each_env_while_writers_run() {
    for bytes in [BOUND, 64 << 20] {
        let memory = memory(bytes);
        let tracer = Tracer::builder().recorder(memory.clone()).build();
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (there, here) = channel::<Context>();
        let (back, again) = channel::<Context>();
        let stepped = |ctx: Context| {
            let ctx = ctx.step("a", Status::Enter, "there").unwrap();
            ctx.step("a", Status::Exit, "and back").unwrap()
        };
        let pong = std::thread::spawn(move || {
            for ctx in here {
                back.send(stepped(ctx)).unwrap();
            }
        });
        let ping = {
            let (tracer, stop, rounds) = (tracer.clone(), stop.clone(), rounds.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Each env takes a few turns, so that finished traces are evicted meanwhile.
                    let mut ctx = tracer.create_env("payload", "ping");
                    for _ in 0..10 {
                        there.send(stepped(ctx)).unwrap();
                        ctx = again.recv().unwrap();
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let mut reads = 0;
        while reads < 150 || rounds.load(Ordering::Relaxed) < 300 {
            let records = memory.all();
            reads += 1;
            for env in check::envs(&records).values() {
                assert_eq!((&*env.record.source, &env.record.payload), ("ping", &"payload".into()));
                for (step, number) in env.steps.iter().zip(1..) {
                    let ends = if number % 2 == 1 { "there" } else { "and back" };
                    assert_eq!((step.step_id, &*step.node, &step.meta), (number, "a", &ends.into()));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        ping.join().unwrap();
        pong.join().unwrap();
    }
}

/// What is cleared is gone, also while it goes on; what begins later is whole.
#[test]
fn clearing_while_writers_run_leaves_only_whole_beginnings() {
    let memory = memory(4 << 20);
    let tracer = Tracer::builder().recorder(memory.clone()).build();
    let stop = AtomicBool::new(false);
    let barrier = Barrier::new(3);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (tracer, stop, barrier) = (&tracer, &stop, &barrier);
            scope.spawn(move || {
                barrier.wait();
                while !stop.load(Ordering::Relaxed) {
                    if writer == 0 {
                        let call = || {
                            call(&SITES[0], || {
                                calls(20);
                                Ok(())
                            })
                        };
                        record_with(tracer.clone(), call).output.unwrap();
                        continue;
                    }
                    let mut ctx = Some(tracer.create_env("payload", "manual"));
                    for status in [Status::Enter, Status::Exit].into_iter().cycle().take(20) {
                        match ctx.take().expect("held").step("a", status, "meta") {
                            Ok(next) => ctx = Some(next),
                            Err(refused) => {
                                assert_eq!(refused.code(), "UNKNOWN_TRACE");
                                break;
                            }
                        }
                    }
                }
            });
        }
        barrier.wait();
        for _ in 0..200 {
            tracer.clear();
            let records = memory.all();
            for env in check::envs(&records).values() {
                for (step, number) in env.steps.iter().zip(1..) {
                    assert_eq!(step.step_id, number, "no step without those before it: {env:#?}");
                }
                if env.record.source == "manual" {
                    assert_eq!(env.record.payload, "payload");
                    assert!(env.steps.iter().all(|step| step.meta == "meta" && step.node == "a"));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    tracer.clear();
    assert_eq!(memory.all(), []);
}

#[test]
fn what_is_cleared_while_it_runs_stays_forgotten() {
    let books = Books::open();
    books.run(|| {
        let ctx = books.tracer.create_env((), "before");
        let mut batch = Open::call(0);
        batch.act(|| calls(10));
        books.tracer.clear();
        assert_eq!((books.bounded.all(), books.tracer.active_traces()), (Vec::new(), Vec::new()));
        // They go on, and open further envs, of which nobody would know what they belong to.
        let fork = ctx.fork();
        assert_eq!(fork.step("a", Status::Enter, ()).unwrap_err().code(), "UNKNOWN_TRACE");
        batch.act(|| {
            calls(3);
            call(&SITES[0], || Ok(())).unwrap();
        });
        assert_eq!((books.bounded.all(), books.tracer.active_traces()), (Vec::new(), Vec::new()));
        assert_eq!(books.bounded.dropped(), 15, "an env and fourteen steps that were made since");
        call(&SITES[0], || Ok(())).unwrap();
        assert_eq!(books.bounded.all().len(), 3, "what begins later is kept");
    });
    assert_eq!(books.tracer.active_traces(), []);
}
