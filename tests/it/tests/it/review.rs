//! Where something once went wrong.

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
    // 64 bytes each, and the bound allows for tables and texts too.
    let held = tracer.stats().total_records;
    assert!((1_000..=4_096).contains(&held), "{held} records of 64 bytes in 256 KiB");
}
