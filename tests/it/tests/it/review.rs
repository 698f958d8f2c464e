//! Where something once went wrong.

use tracer::{Context, all_traces, create_env, test};

#[test]
fn a_token_of_a_test_is_resumed_in_the_test() {
    let recording = test::record(|| {
        let ctx = create_env((), "test");
        Context::resume(ctx.token()).map(|ctx| ctx.trace_id() == all_traces()[0].trace_id())
    });
    assert!(recording.output.unwrap());
}
