//! Bad input, and traced code where one would not look for any: a clear error or a counted drop, never a panic, a
//! deadlock or a lost record of others.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use proptest::prelude::*;
use serde::{Serialize, Serializer, ser::Error as _};
use tracer::__private::{Outcome, Recorded, enter};
use tracer::test::{record, record_with};
use tracer::{
    Clock, ContextToken, Detail, Entry, JsonLines, Lane, Record, Recorder, Status, Times, TraceId, Tracer, branch,
    carry_fn,
};

use crate::check::{self, Finished};
use crate::nodes::{Failed, SITES, call, call_async};
use crate::random;

fn touch(node: usize) {
    call(&SITES[node], || Ok(())).unwrap();
}

fn nodes(records: &[Record]) -> Vec<(&str, Status)> {
    records.iter().filter_map(|record| record.as_step().map(|step| (&*step.node, step.status))).collect()
}

/// Traces while it is serialised.
struct Traces<'a>(&'a Tracer);

impl Serialize for Traces<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        touch(1);
        drop(self.0.create_env(1, "inside").step("d", Status::Enter, ()));
        serializer.serialize_str("done")
    }
}

#[test]
fn values_may_trace_while_they_are_serialised() {
    let seen = record(|| {
        let tracer = Tracer::builder().build();
        let ctx = tracer.create_env(Traces(&tracer), "outside");
        call(&SITES[0], || {
            drop(ctx.step("c", Status::Enter, Traces(&tracer)).unwrap());
            Ok(())
        })
        .unwrap();
        tracer
    });
    let manual = seen.output.all_traces();
    let outside = manual.iter().find(|record| record.as_env().is_some_and(|env| env.source == "outside")).unwrap();
    assert_eq!(outside.as_env().unwrap().payload, "done");
    let steps = [("d", Status::Enter), ("d", Status::Enter), ("c", Status::Enter)];
    assert_eq!(nodes(&manual), steps);
    // The first value was serialised outside of any call, the second inside `a`.
    check::check(&seen.records(), Finished::Yes);
    let [a, b] = ["a", "b"];
    let (enter, exit) = (Status::Enter, Status::Exit);
    assert_eq!(nodes(&seen.records()), [(b, enter), (b, exit), (a, enter), (b, enter), (b, exit), (a, exit)]);
}

struct TracesWhenDropped;

impl Drop for TracesWhenDropped {
    fn drop(&mut self) {
        touch(2);
    }
}

#[test]
fn drops_may_trace_also_while_unwinding() {
    let seen = record(|| {
        let outer = std::panic::catch_unwind(|| {
            call(&SITES[0], || {
                let _first = TracesWhenDropped;
                call(&SITES[1], || {
                    let _second = TracesWhenDropped;
                    std::panic::resume_unwind(Box::new(()))
                })
            })
        });
        assert!(outer.is_err());
        assert_eq!(tracer::current_trace_id(), None);
    });
    let records = seen.records();
    check::check(&records, Finished::Yes);
    let ended = check::counts(&records).ended;
    let panicked = check::End::Error(check::Kind::Panic);
    let expected = [(("a", panicked), 1), (("b", panicked), 1), (("c", check::End::Exit), 2)];
    assert_eq!(ended, expected.map(|((node, end), count)| ((node.to_owned(), end), count)).into());
}

type End = fn() -> Poll<Result<(), Failed>>;

/// What a future holds is dropped in its call, before it ends: at its end, at a panic and when it is cancelled.
#[test]
fn drops_inside_a_future_are_calls_of_it() {
    let poll = |future: std::pin::Pin<&mut dyn Future<Output = Result<(), Failed>>>| {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    let seen = record(|| {
        let ends: [End; 3] = [|| Poll::Ready(Ok(())), || std::panic::resume_unwind(Box::new(())), || Poll::Pending];
        for end in ends {
            let held = TracesWhenDropped;
            let mut future = Box::pin(call_async(&SITES[0], async move {
                let _held = held;
                std::future::poll_fn(|_| end()).await
            }));
            std::panic::catch_unwind(AssertUnwindSafe(|| poll(future.as_mut()).is_ready())).ok();
            drop(future);
            assert_eq!(tracer::current_trace_id(), None);
        }
    });
    let records = seen.records();
    check::check(&records, Finished::Yes);
    check::inner_frames_end_first(&records);
    assert_eq!(seen.stats().traces.len(), 3, "no drop begins a trace of its own");
    let inner = records.iter().filter_map(Record::as_step).filter(|step| step.node == "c");
    assert_eq!(inner.filter(|step| step.key.as_deref() == Some("a#0/c#0")).count(), 6);
}

/// A clock and a recorder that trace themselves.
struct Selfish;

impl Clock for Selfish {
    fn ticks(&self) -> u64 {
        touch(3);
        1
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        touch(3);
        ticks
    }
}

impl Recorder for Selfish {
    fn lane(&self) -> Box<dyn Lane> {
        touch(3);
        Box::new(Self)
    }

    fn records(&self, _: Option<TraceId>, _: &Times) -> Vec<Record> {
        Vec::new()
    }

    fn holds(&self, _: TraceId) -> bool {
        touch(3);
        true
    }

    fn running(&self) -> Vec<TraceId> {
        Vec::new()
    }

    fn clear(&self) {}

    fn dropped(&self) -> u64 {
        0
    }
}

impl Lane for Selfish {
    fn write(&mut self, _: &Entry) {
        touch(3);
        assert_eq!(tracer::current_trace_id(), None, "a recorder is nowhere");
    }

    fn write_with(&mut self, entry: &Entry, _: Box<Detail>) {
        self.write(entry);
    }
}

#[test]
fn what_a_clock_or_a_recorder_traces_is_dropped_and_counted() {
    let memory = crate::recorders::memory(1 << 20);
    let tracer = Tracer::builder().clock(Selfish).recorder(Selfish).recorder(memory.clone()).build();
    let before = tracer.stats().dropped;
    let seen = record_with(tracer, || {
        touch(0);
        let ctx = tracer::create_env((), "manual").step("c", Status::Enter, ()).unwrap();
        ctx.step("c", Status::Exit, ()).unwrap();
    });
    let steps = memory.all();
    let automatic: Vec<_> = nodes(&steps).into_iter().filter(|(node, _)| *node != "d").collect();
    let expected = [("a", Status::Enter), ("a", Status::Exit), ("c", Status::Enter), ("c", Status::Exit)];
    assert_eq!(automatic, expected, "nothing of the others is lost");
    assert!(seen.stats().dropped > before, "what they did inside a record is counted");
    // A tracer made later answers for what was lost since: others of this test program may trace in their clocks too.
    assert!(Tracer::builder().build().stats().dropped < seen.stats().dropped, "what was lost before is not its own");
}

/// A clock that can be made to panic, once.
#[derive(Clone, Default)]
struct Breaking(Arc<AtomicBool>);

impl Clock for Breaking {
    fn ticks(&self) -> u64 {
        assert!(!self.0.swap(false, Ordering::Relaxed), "as it was made to");
        1
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        ticks
    }
}

#[test]
fn a_clock_that_panics_at_the_end_of_a_future_leaves_its_thread_with_the_caller() {
    let clock = Breaking::default();
    let memory = crate::recorders::memory(1 << 20);
    record_with(Tracer::builder().clock(clock.clone()).recorder(memory.clone()).build(), || {
        call(&SITES[0], || {
            let mut future = Box::pin(call_async(&SITES[1], async {
                clock.0.store(true, Ordering::Relaxed);
                Ok(())
            }));
            let poll = || future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready();
            std::panic::catch_unwind(AssertUnwindSafe(poll)).unwrap_err();
            touch(2);
            Ok(())
        })
        .unwrap();
        assert_eq!(tracer::current_trace_id(), None);
    });
    let records = memory.all();
    let steps = || records.iter().filter_map(Record::as_step);
    let keys: Vec<_> = steps().filter(|step| step.status == Status::Exit).map(|step| step.key.as_deref()).collect();
    assert_eq!(keys, [Some("a#0/c#0"), Some("a#0")], "what is called next is called by the caller");
}

/// A destructor of the thread that traces after everything else of the thread may be gone.
#[test]
fn destructors_of_a_thread_may_trace() {
    thread_local! {
        static EARLY: RefCell<Option<TracesWhenDropped>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<TracesWhenDropped>> = const { RefCell::new(None) };
    }
    let tracer = Tracer::builder().build();
    let given = tracer.clone();
    std::thread::spawn(move || {
        // Destroyed in the opposite order of their first use, or in the same: one of them outlives the runtime's.
        EARLY.with(|slot| slot.replace(Some(TracesWhenDropped)));
        record_with(given, || touch(0));
        LATE.with(|slot| slot.replace(Some(TracesWhenDropped)));
    })
    .join()
    .expect("no destructor panics");
    let records = tracer.all_traces();
    check::check(&records, Finished::Yes);
    assert_eq!(nodes(&records), [("a", Status::Enter), ("a", Status::Exit)]);
}

/// What a destructor of a thread drops after the runtime's own is gone ends all the same: no trace is active for ever.
#[test]
fn destructors_of_a_thread_may_end_traces() {
    thread_local! {
        static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    }
    let [tracer, by_hand] = [(); 2].map(|()| Tracer::builder().build());
    let given = [tracer.clone(), by_hand.clone()];
    std::thread::spawn(move || {
        let [tracer, by_hand] = given;
        // Before the runtime's, so it is destroyed after it.
        KEPT.with(|_| ());
        record_with(tracer, || {
            let ctx = by_hand.create_env((), "kept").step("a", Status::Enter, ()).unwrap();
            let mut kept: Vec<Box<dyn Any>> = vec![Box::new(ctx)];
            let mut started = Box::pin(call_async(&SITES[0], call_async(&SITES[1], std::future::pending())));
            assert!(started.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending());
            kept.push(Box::new(started));
            call(&SITES[2], || {
                kept.push(Box::new(call_async(&SITES[3], std::future::ready(Ok(())))));
                kept.push(Box::new(branch(std::future::ready(()))));
                kept.push(Box::new(carry_fn(|(): ()| ())));
                Ok(())
            })
            .unwrap();
            KEPT.set(kept);
        });
    })
    .join()
    .expect("no destructor panics");
    assert_eq!((by_hand.active_traces(), by_hand.all_traces().len()), (vec![], 2));
    assert_eq!(tracer.active_traces(), []);
    let records = tracer.all_traces();
    check::check(&records, Finished::Yes);
    let cancelled = |record: &&Record| record.as_step().is_some_and(|step| step.status == Status::Error);
    let cancelled: Vec<_> = records.iter().filter(cancelled).map(|record| &*record.as_step().unwrap().node).collect();
    assert_eq!(cancelled, ["b"], "and the frame around it is unwound");
}

struct Fails;

impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("no such luck"))
    }
}

struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        std::panic::resume_unwind(Box::new("inside Serialize"))
    }
}

#[test]
fn absurd_payloads_are_cut_and_harm_nobody() {
    let memory = crate::recorders::memory(1 << 20);
    let tracer = Tracer::builder().recorder(memory.clone()).build();
    let huge = vec![b'x'; 100 << 20];
    let text = String::from_utf8(huge).unwrap();
    let ctx = tracer.create_env(&text, "huge");
    let ctx = ctx.step("a", Status::Enter, vec![&text[..1 << 20]; 100]).unwrap();
    let mut deep = serde_json::json!(null);
    for _ in 0..5000 {
        deep = serde_json::Value::Array(vec![deep]);
    }
    let ctx = ctx.step("b", Status::Enter, &deep).unwrap();
    let ctx = ctx.step("c", Status::Enter, Fails).unwrap();
    let ctx = ctx.step("d", Status::Enter, Panics).unwrap();
    assert_eq!(ctx.step_id(), 4);
    let records = memory.all();
    assert_eq!((records.len(), memory.dropped()), (5, 0));
    let steps: Vec<_> = records.iter().filter_map(Record::as_step).collect();
    assert_eq!(steps.iter().map(|step| step.truncated).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(serde_json::to_string(&records).unwrap().len() < 2 << 20, "cut to what is bearable");
    assert_eq!(steps[2].meta, serde_json::json!({"$error": "no such luck"}));
    assert_eq!(steps[3].meta, serde_json::json!({"$error": "its Serialize panicked"}));
    // Deep enough to overflow the stack if it were dropped by recursion.
    while let Some(inner) = deep.as_array_mut().and_then(Vec::pop) {
        deep = inner;
    }
}

/// Waits for leave before each write.
struct Blocked {
    go: Receiver<()>,
    begun: Sender<()>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.send(()).ok();
        self.go.recv().ok();
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_blocks_costs_records_and_no_time() {
    let (leave, go) = channel();
    let (begun, first) = channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let lines = JsonLines::to_writer(Blocked { go, begun, written: written.clone() }).unwrap();
    let lines = crate::recorders::Kept::new(lines);
    let tracer = Tracer::builder().recorder(lines.clone()).build();
    record_with(tracer.clone(), || touch(0));
    // From here on the writer stands still until it is told to go on; the program runs to its end all the same.
    first.recv().unwrap();
    record_with(tracer.clone(), || (0..40_000).for_each(|_| touch(1)));
    let dropped = lines.dropped();
    assert!(dropped > 0, "120,000 records do not fit into the queue");
    drop(leave);
    tracer.flush();
    let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let records: Vec<Record> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(nodes(&records)[..2], [("a", Status::Enter), ("a", Status::Exit)]);
    // The end of a trace takes a place in the queue too, and is no record.
    let made = 3 + 40_000 * 3;
    let overs = 40_000 + 1;
    let missing = made - records.len() as u64;
    assert_eq!(lines.dropped(), dropped, "nothing more was lost");
    assert!((missing..=missing + overs).contains(&dropped), "{missing} records are missing, {dropped} counted");
}

/// Fails at every write until told otherwise.
struct Failing(Arc<Mutex<bool>>, Arc<Mutex<Vec<u8>>>);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.0.lock().unwrap() {
            return Err(io::Error::other("no space left"));
        }
        self.1.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_fails_costs_what_it_failed_to_write() {
    let (fails, written) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(Vec::new())));
    let lines = crate::recorders::Kept::new(JsonLines::to_writer(Failing(fails.clone(), written.clone())).unwrap());
    let tracer = Tracer::builder().recorder(lines.clone()).build();
    record_with(tracer.clone(), || touch(0));
    tracer.flush();
    assert_eq!(lines.dropped(), 3);
    *fails.lock().unwrap() = false;
    record_with(tracer.clone(), || touch(1));
    tracer.flush();
    let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let lines_read: Vec<Result<Record, _>> = written.lines().map(serde_json::from_str).collect();
    let whole: Vec<Record> = lines_read.into_iter().filter_map(Result::ok).collect();
    assert_eq!(nodes(&whole), [("b", Status::Enter), ("b", Status::Exit)], "what was counted is gone: {written}");
    assert_eq!(lines.dropped(), 3);
}

#[test]
fn contexts_of_another_tracer_stay_with_it() {
    let (mine, other) = (Tracer::builder().build(), Tracer::builder().build());
    let foreign = other.create_env((), "other");
    assert_eq!(mine.resume(foreign.token()).unwrap_err().code(), "UNKNOWN_TRACE");
    let seen = record_with(mine.clone(), || {
        call(&SITES[0], || {
            // A line of calls of the other tracer, in the midst of one of ours.
            let mut frame = enter(&SITES[1], Some(&foreign), Recorded::none());
            touch(2);
            frame.end(Outcome::ok());
            touch(3);
            Ok(())
        })
        .unwrap();
    });
    let steps = |records: &[Record]| nodes(records).iter().map(|(node, _)| (*node).to_owned()).collect::<String>();
    assert_eq!((&*steps(&seen.records()), &*steps(&other.all_traces())), ("adda", "bccb"));
    drop(foreign);
    assert_eq!((mine.active_traces(), other.active_traces()), (vec![], vec![]));
}

fn broken_token() -> impl Strategy<Value = String> {
    // Something that looks like a token, with one thing wrong; and anything.
    let good = "v1.0123456789abcdef0123456789abcdef.0123456789abcdef.0";
    prop_oneof![
        (0..good.len()).prop_map(move |at| good[..at].to_owned()),
        (0..good.len(), "[^0-9a-f]").prop_map(move |(at, text)| format!("{}{text}{}", &good[..at], &good[at + 1..])),
        (0..good.len(), ".{1,3}").prop_map(move |(at, text)| format!("{}{text}{}", &good[..at], &good[at..])),
        Just(good.to_uppercase()),
        Just(good.replace(".0", ".18446744073709551616")),
        Just(good.replace(".0", ".-1")),
        Just("v1.00000000000000000000000000000000.0000000000000000.0".to_owned()),
        Just("v1.".repeat(100_000)),
        ".*",
    ]
}

proptest! {
    #![proptest_config(random::config(500, "tokens"))]

    #[test]
    fn broken_tokens_are_refused_in_words(text in broken_token()) {
        let tracer = Tracer::builder().build();
        let json = serde_json::to_string(&text).unwrap();
        let token: ContextToken = serde_json::from_str(&json).unwrap();
        let refused = tracer.resume(token).unwrap_err();
        // What is well formed after all is of no trace here.
        let well_formed = refused.code() == "UNKNOWN_TRACE" && text.starts_with("v1.") && text.split('.').count() == 4;
        prop_assert!(refused.code() == "INVALID_CONTEXT" || well_formed, "{refused}");
        prop_assert!(refused.to_string().len() < 600, "a refusal does not repeat all of its cause");
        prop_assert_eq!(tracer.all_traces(), []);
        prop_assert!(refused.into_context().is_none());
    }
}

#[test]
fn what_a_recorder_records_elsewhere_is_lost_too() {
    /// Records into another tracer what it was told: allowed, and lost as everything a recorder does.
    struct Forwards(Tracer);
    impl Recorder for Forwards {
        fn lane(&self) -> Box<dyn Lane> {
            Box::new(Forwards(self.0.clone()))
        }
        fn records(&self, _: Option<TraceId>, _: &Times) -> Vec<Record> {
            Vec::new()
        }
        fn holds(&self, _: TraceId) -> bool {
            true
        }
        fn running(&self) -> Vec<TraceId> {
            Vec::new()
        }
        fn clear(&self) {}
        fn dropped(&self) -> u64 {
            0
        }
    }
    impl Lane for Forwards {
        fn write(&mut self, _: &Entry) {
            drop(self.0.create_env((), "forwarded"));
        }
        fn write_with(&mut self, entry: &Entry, _: Box<Detail>) {
            self.write(entry);
        }
    }
    let other = Tracer::builder().build();
    record_with(Tracer::builder().recorder(Forwards(other.clone())).build(), || touch(0));
    assert_eq!(other.all_traces(), []);
    assert_eq!(other.active_traces(), []);
}
