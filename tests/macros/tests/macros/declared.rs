//! Declared flows at run time: an edge joins two consecutive steps of an env.

use tracer::test::{Recording, record, record_with};
use tracer::{Context, Note, Record, Tracer, Violation, assert_trace, branch, carry, create_env, flow, traced_node};
use tracer_orders::{accept, orders};

use crate::drive::{ANSWER, Bad, Way, go, lines, once_pending, panic_of, run};

flow! {
    webhook {
        parse -> validate -> send;
        validate !> reject;
        send ~> send;
    }
}

#[traced_node(webhook::parse)]
fn parse(way: Way) -> Result<u32, Bad> {
    go(way)
}

#[traced_node(webhook::validate)]
async fn validate(way: Way) -> Result<u32, Bad> {
    once_pending().await;
    go(way)
}

struct Outbox {
    failures: u32,
}

impl Outbox {
    #[traced_node(webhook::send)]
    fn send(&mut self) -> Result<u32, Bad> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(Bad);
        }
        Ok(1)
    }

    fn send_with_retries(&mut self) -> Result<u32, Bad> {
        self.send().or_else(|_| self.send()).or_else(|_| self.send())
    }
}

#[traced_node(webhook::reject)]
fn reject() {}

/// Belongs to no flow, so it is between no two steps.
#[traced_node]
fn log() {}

#[traced_node]
async fn handle(parsing: Way, validating: Way, failures: u32) -> Result<u32, Bad> {
    log();
    parse(parsing)?;
    log();
    if validate(validating).await.is_err() {
        log();
        reject();
        return Ok(0);
    }
    log();
    Outbox { failures }.send_with_retries()
}

/// The missing edges, as `from -> to`.
fn missing<T>(recording: &Recording<T>) -> Vec<String> {
    let note = |record: &Record| match &record.as_note()?.note {
        Note::FlowViolation { flow, from, to } => {
            Some(format!("{flow}: {} -> {to}", from.as_deref().unwrap_or("nothing")))
        }
        _ => None,
    };
    let missing: Vec<String> = recording.records().iter().filter_map(note).collect();
    assert_eq!(recording.stats().violations, u64::try_from(missing.len()).unwrap());
    missing
}

#[test]
fn the_declared_ways_are_free_of_notes() {
    for (parsing, validating, failures, line) in [
        (Way::Succeed, Way::Succeed, 0, "handle > log, parse, log, validate, log, send"),
        (Way::Fail, Way::Succeed, 0, "handle^ > log, parse!(Bad)"),
        (Way::Succeed, Way::Fail, 0, "handle > log, parse, log, validate!(Bad), log, reject"),
        (Way::Succeed, Way::Succeed, 2, "handle > log, parse, log, validate, log, send!(Bad), send!(Bad), send"),
        (Way::Succeed, Way::Succeed, 3, "handle^ > log, parse, log, validate, log, send!(Bad)*3"),
    ] {
        let recording = record(|| run(handle(parsing, validating, failures)));
        assert_trace!(recording, line);
        assert_eq!(missing(&recording), [""; 0], "{line}");
    }
}

#[test]
fn a_missing_edge_is_noted_and_counted_and_the_program_goes_on() {
    #[traced_node]
    fn skips() -> Result<u32, Bad> {
        parse(Way::Succeed)?;
        Outbox { failures: 0 }.send()
    }
    #[traced_node]
    async fn rejects_what_is_valid() {
        parse(Way::Succeed).unwrap();
        validate(Way::Succeed).await.unwrap();
        reject();
    }
    #[traced_node]
    fn begins_inside() {
        reject();
    }
    let recording = record(|| {
        skips().unwrap();
        run(rejects_what_is_valid());
        begins_inside();
    });
    assert_trace!(
        recording,
        "(skips > parse, send), (rejects_what_is_valid > parse, validate, reject), begins_inside > reject"
    );
    assert_eq!(
        missing(&recording),
        ["webhook: parse -> send", "webhook: validate -> reject", "webhook: nothing -> reject"]
    );
    assert!(recording.to_string().contains("! flow webhook has no edge parse -> send"), "{recording}");
}

#[test]
fn after_an_error_only_the_edges_for_errors_hold() {
    #[traced_node]
    async fn sends_what_is_invalid() -> Result<u32, Bad> {
        parse(Way::Succeed)?;
        let _ = validate(Way::Fail).await;
        Outbox { failures: 0 }.send()
    }
    let recording = record(|| run(sends_what_is_invalid()));
    assert_eq!(missing(&recording), ["webhook: validate -> send"]);

    let strict = Tracer::builder().on_violation(Violation::Panic).build();
    let recording = record_with(strict, || panic_of(|| run(sends_what_is_invalid())));
    assert_eq!(
        recording.output.as_deref(),
        Some(
            "flow `webhook` has no edge `validate` !> `send`, and `validate` failed: declare it, or do not call `send` \
             there"
        )
    );
}

#[test]
fn with_violation_panic_a_missing_edge_panics_where_the_node_is_entered() {
    #[traced_node]
    async fn skips() -> Result<u32, Bad> {
        parse(Way::Succeed)?;
        once_pending().await;
        Outbox { failures: 0 }.send()
    }
    #[traced_node]
    async fn begins_inside() -> Result<u32, Bad> {
        validate(Way::Succeed).await
    }
    let strict = || Tracer::builder().on_violation(Violation::Panic).build();
    let recording = record_with(strict(), || panic_of(|| run(skips())));
    let said = recording.output.as_deref().unwrap();
    assert_eq!(said, "flow `webhook` has no edge `parse` -> `send`: declare it, or do not call `send` there");
    assert_trace!(recording, "skips^ > parse, send!panic");
    assert_eq!(missing(&recording), ["webhook: parse -> send"]);

    let recording = record_with(strict(), || panic_of(|| run(begins_inside())));
    let said = recording.output.as_deref().unwrap();
    assert_eq!(said, "flow `webhook` does not begin with `validate`: write `entry validate;` if it may");
    assert_trace!(recording, "begins_inside^ > validate!panic");

    let recording = record_with(strict(), || run(handle(Way::Succeed, Way::Fail, 1)));
    assert_eq!(recording.output, Ok(0));
}

#[test]
fn what_another_thread_cannot_see_it_does_not_judge() {
    #[traced_node]
    fn busy(ctx: &Context) {
        // This thread is in the line, so the other one leaves it for an env beside it.
        std::thread::scope(|threads| {
            threads.spawn(|| second(ctx));
        });
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let fork = ctx.fork();
                second(&fork);
                second(&fork);
            });
        });
    }
    let recording = record(|| {
        let ctx = create_env((), "job");
        first(&ctx);
        busy(&ctx);
    });
    assert_trace!(recording, "first, busy, second*3");
    assert_eq!(missing(&recording), ["given: second -> second"]);
}

flow! {
    audit {
        open_book -> write_line -> close_book;
        write_line ~> write_line;
    }
}

#[traced_node(audit::open_book)]
fn open_book() {}

#[traced_node(audit::write_line)]
fn write_line() {}

#[traced_node(audit::close_book)]
fn close_book() {}

#[test]
fn two_flows_in_one_trace_do_not_disturb_each_other() {
    #[traced_node]
    async fn both(closes_early: bool) {
        open_book();
        parse(Way::Succeed).unwrap();
        if closes_early {
            close_book();
        }
        write_line();
        validate(Way::Succeed).await.unwrap();
        write_line();
        Outbox { failures: 1 }.send_with_retries().unwrap();
        close_book();
    }
    let recording = record(|| run(both(false)));
    assert_eq!(missing(&recording), [""; 0]);
    let recording = record(|| run(both(true)));
    assert_eq!(missing(&recording), ["audit: open_book -> close_book", "audit: close_book -> write_line"]);
}

#[test]
fn forks_begin_where_the_flow_stands_and_leave_it_there() {
    #[traced_node]
    async fn forks() {
        parse(Way::Succeed).unwrap();
        // Both arms, and what comes behind them, follow `parse`.
        assert_eq!(tracer::join!(validate(Way::Succeed), validate(Way::Succeed)), (Ok(ANSWER), Ok(ANSWER)));
        branch(validate(Way::Succeed)).await.unwrap();
        std::thread::scope(|threads| {
            threads.spawn(carry(|| run(validate(Way::Succeed)).unwrap()));
            threads.spawn(carry(|| Outbox { failures: 0 }.send().unwrap()));
        });
        validate(Way::Succeed).await.unwrap();
    }
    let recording = record(|| run(forks()));
    assert_eq!(missing(&recording), ["webhook: parse -> send"]);
}

#[test]
fn a_recovery_goes_on_where_the_error_left_the_flow() {
    #[traced_node]
    async fn recovers() -> Result<u32, Bad> {
        parse(Way::Succeed)?;
        if validate(Way::Fail).await.is_err() {
            reject();
        }
        Ok(1)
    }
    let recording = record(|| run(recovers()));
    assert_eq!(
        lines(&recording.records()),
        ["Root recovers( parse( parse) validate( validate!", "Recovery recovers~( reject( reject) recovers)"]
    );
    assert_eq!(missing(&recording), [""; 0]);
}

#[test]
fn an_overlapping_call_begins_where_the_flow_stands() {
    #[traced_node]
    async fn overlaps() {
        parse(Way::Succeed).unwrap();
        let (mut a, mut b) = (Box::pin(validate(Way::Succeed)), Box::pin(validate(Way::Succeed)));
        std::future::poll_fn(|cx| {
            assert!(a.as_mut().poll(cx).is_pending() && b.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        run(a).unwrap();
        run(b).unwrap();
    }
    let recording = record(|| run(overlaps()));
    // The second stands where the first had been entered, in an env beside it.
    assert_eq!(missing(&recording), ["webhook: validate -> validate"]);
}

#[test]
fn a_call_inside_a_node_follows_its_enter() {
    flow! {
        nested {
            whole -> part -> rest;
            whole -> rest;
        }
    }
    #[traced_node(nested::whole)]
    fn whole(all: bool) {
        if all {
            part();
        }
        rest();
    }
    #[traced_node(nested::part)]
    fn part() {}
    #[traced_node(nested::rest)]
    fn rest() {}
    let recording = record(|| {
        whole(true);
        whole(false);
    });
    assert_eq!(missing(&recording), [""; 0]);
}

flow! {
    given {
        first -> second -> third;
    }
}

#[traced_node(given::first)]
fn first(_ctx: &Context) {}

#[traced_node(given::second)]
fn second(_ctx: &Context) {}

#[traced_node(given::third)]
fn third(_ctx: &Context) {}

#[test]
fn an_explicit_context_and_its_forks_carry_the_flow() {
    let recording = record(|| {
        let ctx = create_env((), "job");
        first(&ctx);
        second(&ctx);
        let fork = ctx.fork();
        third(&fork);
        third(&ctx);
        third(&ctx.fork());
    });
    assert_eq!(missing(&recording), ["given: third -> third"]);
}

#[traced_node(orders::price, extern)]
fn price(pieces: u32) -> u32 {
    pieces * 3
}

#[traced_node(orders::ship, extern)]
async fn ship(_price: u32) {}

#[test]
fn an_open_flow_has_nodes_in_several_crates() {
    #[traced_node]
    async fn order(priced: bool) {
        let pieces = accept(2).unwrap();
        if priced {
            ship(price(pieces)).await;
        } else {
            ship(0).await;
        }
    }
    let recording = record(|| run(order(true)));
    assert_trace!(recording, "order > accept, price, ship");
    assert_eq!(missing(&recording), [""; 0]);
    let recording = record(|| run(order(false)));
    assert_eq!(missing(&recording), ["orders: accept -> ship"]);
}

mod unfinished {
    #![allow(deprecated, reason = "how a partial flow says that a node is not written yet")]
    use super::*;

    flow! {
        partial draft {
            first -> second -> third;
        }
    }

    #[traced_node(draft::first)]
    pub(super) fn first() {}

    #[traced_node(draft::third)]
    pub(super) fn third() {}
}

#[test]
fn a_partial_flow_is_checked_like_any_other() {
    #[traced_node]
    fn work() {
        unfinished::first();
        unfinished::third();
    }
    assert_eq!(missing(&record(work)), ["draft: first -> third"]);
}

flow! {
    names { lonely; other; records; }
    several {
        shared tell -> done;
        entry other_tell -> tell;
        tell ~> tell;
    }
}

#[traced_node(names::lonely)]
fn lonely() {}

#[traced_node(names::other)]
fn other() {}

use names::records;

// Without `self`, it would be taken for a misspelt option.
#[traced_node(self::records)]
fn keeps() {}

#[traced_node(several::tell, shared)]
fn tell_one() {}

#[traced_node(several::tell, shared)]
async fn tell_many() {}

#[traced_node(several::other_tell)]
fn other_tell() {}

#[traced_node(several::done)]
fn done() {}

#[test]
fn a_flow_without_edges_orders_nothing() {
    #[traced_node]
    fn anyhow() {
        other();
        lonely();
        keeps();
        other();
    }
    assert_eq!(missing(&record(anyhow)), [""; 0]);
}

#[test]
fn several_functions_may_be_a_shared_node_and_several_nodes_an_entry() {
    #[traced_node]
    async fn tells() {
        tell_one();
        tell_many().await;
        done();
    }
    #[traced_node]
    fn begins_elsewhere() {
        other_tell();
        tell_one();
    }
    let recording = record(|| {
        run(tells());
        begins_elsewhere();
    });
    assert_trace!(recording, "(tells > tell, tell, done), begins_elsewhere > other_tell, tell");
    assert_eq!(missing(&recording), [""; 0]);
}
