//! Where something once went wrong.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracer::{Context, JsonLines, Status, Tracer, all_traces, create_env, test, traced_node};

use crate::recorders::{Written, memory};

#[traced_node]
fn leaf() {}

#[traced_node]
fn leaves(count: usize) {
    for _ in 0..count {
        leaf();
    }
}

#[traced_node]
fn works(_ctx: &Context) {}

#[test]
fn a_token_of_a_test_is_resumed_in_the_test() {
    let recording = test::record(|| {
        let ctx = create_env((), "test");
        Context::resume(ctx.token()).map(|ctx| ctx.trace_id() == all_traces()[0].trace_id())
    });
    assert!(recording.output.unwrap());
}

/// The trace is over as soon as its last context goes. A token may come back all the same.
#[test]
fn traced_functions_of_a_resumed_token_are_recorded() {
    let file = Written::default();
    let lines = JsonLines::to_writer(file.clone()).unwrap();
    let tracer = Tracer::builder().recorder(memory(1 << 20)).recorder(lines).build();
    let ctx = tracer.create_env((), "test");
    let (id, first, second) = (ctx.trace_id(), ctx.token(), ctx.fork().token());
    drop(ctx.step("manual", Status::Enter, ()).unwrap());
    let first = tracer.resume(first).unwrap_err();
    assert_eq!(first.code(), "STEP_OUT_OF_ORDER");
    works(&tracer.resume(second).unwrap());
    let steps = tracer.replay(id).iter().filter(|record| record.as_step().is_some()).count();
    assert_eq!(steps, 3);
    tracer.flush();
    assert_eq!(file.records().len(), 5);
}

/// A thread that ends with a full chunk, and more threads at once than chunks fit into the bound, once took memory
/// for good.
#[test]
fn threads_that_are_gone_leave_no_memory_behind() {
    let tracer = Tracer::builder().max_bytes(256 << 10).build();
    let run = |count| drop(test::record_with(tracer.clone(), || leaves(count)));
    // The enter and exit of each, and two entries for the trace: all lengths, the full chunk among them.
    for count in 120..136 {
        for _ in 0..20 {
            std::thread::scope(|scope| scope.spawn(|| run(count)).join()).unwrap();
        }
    }
    let barrier = std::sync::Barrier::new(40);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                run(1);
                barrier.wait();
            });
        }
    });
    run(10);
    // At most 64 bytes each, and the bound allows for tables and texts too.
    let held = tracer.stats().total_records;
    assert!((1_000..=32_768).contains(&held), "{held} records of 8 to 64 bytes in 256 KiB");
}

/// Fails, panics or takes bytes.
#[derive(Clone, Default)]
struct Unreliable {
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    file: Written,
}

impl Write for Unreliable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.panics.load(Ordering::Relaxed), "the disk is on fire");
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(&bytes[..bytes.len().min(1_000)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `Written::records` fails on a line that is no record.
#[test]
fn a_writer_that_fails_or_panics_costs_whole_lines_and_counts_them() {
    let writer = Unreliable::default();
    let tracer = Tracer::builder().recorder(JsonLines::to_writer(writer.clone()).unwrap()).build();
    let steps = |count: u64| {
        for _ in 0..count {
            drop(tracer.create_env("x".repeat(100), "test"));
        }
        tracer.flush();
    };
    steps(100);
    writer.fails.store(true, Ordering::Relaxed);
    steps(100);
    writer.fails.store(false, Ordering::Relaxed);
    writer.panics.store(true, Ordering::Relaxed);
    steps(100);
    writer.panics.store(false, Ordering::Relaxed);
    steps(100);
    let (written, dropped) = (writer.file.records().len() as u64, tracer.stats().dropped);
    assert!(written >= 200 && written + dropped >= 400, "{written} of 400, {dropped} dropped");
}

/// Takes nothing until it is let go.
struct Blocked(Arc<AtomicBool>);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.0.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn values_that_wait_for_a_writer_are_bounded_in_bytes() {
    let blocked = Arc::new(AtomicBool::new(true));
    let tracer = Tracer::builder().recorder(JsonLines::to_writer(Blocked(blocked.clone())).unwrap()).build();
    let large = "x".repeat(200_000);
    for _ in 0..300 {
        drop(tracer.create_env(&large, "test"));
    }
    let dropped = tracer.stats().dropped;
    blocked.store(false, Ordering::Relaxed);
    assert!((200..300).contains(&dropped), "{dropped} of 300 with 200 kB each");
}

#[traced_node]
fn nested(levels: u32) {
    if levels > 0 {
        leaf();
        nested(levels - 1);
    }
}

/// The line of each span was once made twice at every level above it.
#[test]
fn a_line_of_many_levels_is_made_in_time() {
    let line = test::record(|| nested(60)).line();
    assert_eq!((line.matches("leaf").count(), line.matches("nested").count()), (60, 61));
}

#[traced_node]
fn resumes() {
    std::panic::resume_unwind(Box::new("another"));
}

#[traced_node]
fn catches() {
    drop(std::panic::catch_unwind(|| std::panic::panic_any("caught".to_owned())));
}

/// `resume_unwind` runs no hook, so its text is not known. That of a panic before it is not its text.
#[test]
fn a_panic_that_was_caught_does_not_speak_for_the_next() {
    let recording = test::record(|| {
        catches();
        drop(std::panic::catch_unwind(|| std::panic::panic_any("caught".to_owned())));
        drop(std::panic::catch_unwind(resumes));
    });
    assert_eq!(recording.to_string(), "catches\n\nresumes ✗ panic\n");
}

#[test]
fn a_source_is_bounded() {
    let tracer = Tracer::builder().build();
    let ctx = tracer.create_env((), &"é".repeat(10_000_000));
    assert_eq!(ctx.source(), "é".repeat(128));
}

/// A recorder that cannot read back says that it has every trace; what tokens need was then kept for ever.
#[test]
fn traces_without_contexts_are_forgotten_some_time() {
    let tracer = Tracer::builder().recorder(JsonLines::to_writer(io::sink()).unwrap()).build();
    let held = tracer.create_env((), "test");
    let token = tracer.create_env((), "test").token();
    for _ in 0..40_000 {
        drop(tracer.create_env((), "test"));
    }
    assert_eq!(tracer.resume(token).unwrap_err().code(), "UNKNOWN_TRACE");
    assert!(held.step("parse", Status::Enter, ()).is_ok());
}

#[traced_node]
fn forks() {
    for _ in 0..66_000 {
        tracer::carry(|| ())();
    }
    let call = tracer::carry_fn(|()| leaf());
    for _ in 0..5_000 {
        call(());
    }
}

/// The number of such a fork does not fit, and the forks that lead to its calls were then looked for in every env.
#[test]
fn a_trace_of_many_forks_is_read_in_time() {
    let tracer = Tracer::builder().max_bytes(64 << 20).build();
    let records = test::record_with(tracer, forks).records();
    let keys = records.iter().filter_map(|record| record.as_step()?.key.as_ref());
    assert_eq!(keys.count(), 2 * 5_001);
}

#[traced_node]
fn carries(calls: usize) {
    let call = tracer::carry_fn(|()| leaf());
    for _ in 0..calls {
        call(());
    }
}

/// The calls were counted in sixteen bits.
#[test]
fn keys_of_a_carried_closure_never_repeat() {
    const CALLS: usize = 70_000;
    let tracer = Tracer::builder().max_bytes(64 << 20).build();
    let records = test::record_with(tracer, || carries(CALLS)).records();
    let entered = records.iter().filter_map(|record| record.as_step()).filter(|step| step.status == Status::Enter);
    let keys: std::collections::HashSet<_> = entered.map(|step| step.key.clone()).collect();
    assert_eq!(keys.len(), CALLS + 1);
    assert!(keys.contains(&Some("carries#0/fork#0/fork#69999/leaf#0".into())));
}
