//! How do I take steps by hand, and what happens to a wrong one?
//!
//! Everything that the manual API has: a trace with its payload, steps, a refusal, a position that goes over a wire,
//! reading back, counts, clearing. `cargo run -p tracer-examples --example manual`

use serde_json::json;
use tracer::{Context, GuardError, Record, Status};

fn main() -> Result<(), GuardError> {
    // A trace, with what it was started with and what started it.
    let ctx = tracer::create_env(json!({"order": 17}), "webhook");
    let trace_id = ctx.trace_id();

    // Each step consumes the context and gives the next one: an old one cannot be used again.
    let ctx = ctx.step("validate", Status::Enter, ())?;
    let ctx = ctx.step("validate", Status::Exit, json!({"valid": true}))?;
    println!("after step {}", ctx.step_id());

    // A step that the rules do not allow is refused, and recorded nowhere. The error gives the context back.
    let Err(refused) = ctx.step("validate", Status::Exit, ()) else { unreachable!("`validate` is not entered") };
    println!("refused: {}\n         {}", refused.code(), refused.kind());
    let ctx = refused.into_context().expect("a refused step gives its context back");
    println!("still after step {}", ctx.step_id());

    // A context goes over a wire as a text.
    let wire = serde_json::to_string(&ctx.token()).expect("a token is a text");
    drop(ctx);
    let received = serde_json::from_str(&wire).expect("the text is a token");
    let ctx = elsewhere(Context::resume(received)?)?;

    // The same token a second time is out of date.
    let late = Context::resume(serde_json::from_str(&wire).expect("the text is a token"));
    println!("refused: {}", late.expect_err("a step was taken since").code());

    // A fork is a line of calls of its own, with its own numbers.
    let fork = ctx.fork().step("send-receipt", Status::Enter, ())?;
    let fork = fork.step("send-receipt", Status::Error, "no such mailbox")?;
    println!("the fork is after step {}, the other after step {}", fork.step_id(), ctx.step_id());
    println!("active traces: {}", tracer::active_traces().len());
    drop((ctx, fork));

    println!("\nreplay");
    for record in tracer::replay(trace_id) {
        match record {
            Record::Env(env) => println!("  0 {:?} {} {}", env.cause, env.source, env.payload),
            Record::Step(step) => println!("  {} {:?} {} {}", step.step_id, step.status, step.node, step.meta),
            Record::Note(note) => println!("  {:?}", note.note),
        }
    }

    let stats = tracer::stats();
    println!("\n{} records, {} active traces, {} dropped", stats.total_records, stats.active_traces, stats.dropped);
    for trace in stats.traces {
        println!("{} steps in {} envs: {}", trace.steps, trace.envs, trace.state);
    }
    tracer::clear_traces();
    println!("cleared: {} records", tracer::all_traces().len());
    Ok(())
}

/// Another thread, another request: whoever has the token goes on.
fn elsewhere(ctx: Context) -> Result<Context, GuardError> {
    ctx.step("charge", Status::Enter, json!({"amount": 4200}))?.step("charge", Status::Exit, ())
}

// after step 2
// refused: INVALID_TRANSITION
//          invalid transition: expected enter of `validate`, which is idle, found exit
// still after step 2
// refused: STEP_OUT_OF_ORDER
// the fork is after step 2, the other after step 4
// active traces: 1
//
// replay
//   0 Root webhook {"order":17}
//   1 Enter validate null
//   2 Exit validate {"valid":true}
//   3 Enter charge {"amount":4200}
//   4 Exit charge null
//   0 Fork webhook null
//   1 Enter send-receipt null
//   2 Error send-receipt "no such mailbox"
//
// 8 records, 0 active traces, 0 dropped
// 6 steps in 2 envs: ok
// cleared: 0 records
