//! Recording switched off at run time: for the whole process, so in one of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use tracer::__private::{Outcome, Recorded, Site, enter, traced};
use tracer::execution::{ExecutionManager, MemoryStore, NewExecution};
use tracer::test::record;
use tracer::{Record, Status, StrictEnv, TraceState};

static A: Site = Site::new("a", "switch", file!(), line!());
static B: Site = Site::new("b", "switch", file!(), line!());
static C: Site = Site::new("c", "switch", file!(), line!());

fn call<T>(site: &'static Site, body: impl FnOnce() -> T) -> T {
    let mut frame = enter(site, None, Recorded::none());
    let output = body();
    frame.end(Outcome::ok());
    output
}

/// Off while it lives.
struct Off;

impl Off {
    fn now() -> Self {
        tracer::set_enabled(false);
        Self
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        tracer::set_enabled(true);
    }
}

fn steps(records: &[Record]) -> Vec<String> {
    let mut env = StrictEnv::default();
    let steps = records.iter().filter_map(Record::as_step);
    steps
        .map(|step| {
            env.step(step.step_id - 1, &step.node, step.status).expect("one strict env");
            format!("{} {}", step.status, step.node)
        })
        .collect()
}

/// All in one function: the switch is one.
#[test]
fn calls_in_progress_end_as_they_began() {
    let off = record(|| {
        let _off = Off::now();
        call(&A, || {
            assert_eq!(tracer::current_trace_id(), None);
            call(&B, || ());
        });
    });
    assert_eq!(off.records(), []);

    // Switched while frames are open, by a function inside them.
    let open = record(|| {
        call(&A, || {
            let off = Off::now();
            assert!(tracer::current_trace_id().is_some(), "the call in progress is one still");
            call(&B, || drop(off));
            call(&C, || ());
        });
    });
    assert_eq!(steps(&open.records()), ["enter a", "enter c", "exit c", "exit a"]);
    assert_eq!((open.stats().traces[0].state, open.stats().active_traces), (TraceState::Ok, 0));

    // Still off when the call ends.
    let ended = record(|| {
        let mut off = None;
        call(&A, || off = Some(Off::now()));
        drop(off);
    });
    assert_eq!(steps(&ended.records()), ["enter a", "exit a"]);
    assert_eq!(ended.stats().active_traces, 0);

    // Switched on inside a call that is not recorded: a trace begins there.
    let inside = record(|| {
        let off = Off::now();
        call(&A, || {
            drop(off);
            call(&B, || ());
        });
    });
    assert_eq!(steps(&inside.records()), ["enter b", "exit b"]);

    // A future called while off is not recorded, whenever it is polled; one called while on is.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let futures = record(|| {
        let off = Off::now();
        let called_off = traced(&A, None, Recorded::none(), async {}, |()| Outcome::ok());
        drop(off);
        let called_on = traced(&B, None, Recorded::none(), async {}, |()| Outcome::ok());
        runtime.block_on(called_off);
        let off = Off::now();
        runtime.block_on(called_on);
        drop(off);
    });
    assert_eq!(steps(&futures.records()), ["enter b", "exit b"]);
    assert_eq!(futures.stats().active_traces, 0);

    // Dropped while off: ended all the same.
    let dropped = record(|| {
        let mut pending = Box::pin(traced(&A, None, Recorded::none(), std::future::pending(), |()| Outcome::ok()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(pending.as_mut().poll(&mut cx).is_pending());
        let _off = Off::now();
        drop(pending);
    });
    assert_eq!(steps(&dropped.records()), ["enter a", "error a"]);

    // The manual API is not affected.
    let manual = record(|| {
        let _off = Off::now();
        tracer::create_env((), "manual").step("a", Status::Enter, ()).unwrap();
    });
    assert_eq!(steps(&manual.records()), ["enter a"]);

    // A node that keeps its result has no place to keep it under: it says so, and does not run.
    runtime.block_on(async {
        let manager = ExecutionManager::new(MemoryStore::default());
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        let execution = manager.start(&id).await.unwrap();
        let off = Off::now();
        let error = manager.run_attempt(&execution, || async { kept().await }).await.unwrap_err();
        drop(off);
        assert_eq!((error.code(), error.is_retryable()), ("NOT_TRACED", true));
        assert!(error.to_string().contains("node `kept` keeps its result"), "{error}");
        assert_eq!(manager.run_attempt(&execution, || async { kept().await }).await.unwrap(), 1);
        assert_eq!(RAN.load(Ordering::Relaxed), 1);
    });
}

static RAN: AtomicU32 = AtomicU32::new(0);

#[tracer::traced_node(checkpoint)]
async fn kept() -> u32 {
    RAN.fetch_add(1, Ordering::Relaxed) + 1
}
