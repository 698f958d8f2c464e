//! How do I say which steps there are and in which order they may come?
//!
//! Names are checked when compiling: a misspelt node, one that no function is, one that two functions are, and a loop
//! that is not marked do not compile. The order of calls is checked while running.
//! `cargo run -p tracer-examples --example flow`

use tracer::{Tracer, Violation, traced_node};

tracer::flow! {
    /// What an order goes through.
    pub order {
        receive -> reserve -> charge -> ship;
        // Only after `charge` failed.
        charge !> release;
        // A loop that is meant: again, also after it failed.
        charge ~> charge;
    }
}

#[traced_node(order::receive)]
fn receive(stock: u32, attempts: &[bool]) -> &'static str {
    if reserve(stock).is_err() {
        return "sold out";
    }
    if attempts.iter().any(|accepted| charge(*accepted).is_ok()) {
        ship();
        return "shipped";
    }
    release();
    "released"
}

#[traced_node(order::reserve)]
fn reserve(stock: u32) -> Result<(), &'static str> {
    if stock == 0 { Err("nothing left") } else { Ok(()) }
}

#[traced_node(order::charge)]
fn charge(accepted: bool) -> Result<(), &'static str> {
    if accepted { Ok(()) } else { Err("declined") }
}

#[traced_node(order::release)]
fn release() {}

#[traced_node(order::ship)]
fn ship() {}

/// Gives away what was not paid.
#[traced_node]
fn give_away() {
    if reserve(1).is_ok() {
        ship();
    }
}

fn main() {
    for (stock, attempts) in [(1, &[true][..]), (1, &[false, true]), (1, &[false, false]), (0, &[])] {
        let seen = tracer::test::record(|| receive(stock, attempts));
        println!("{}\n{seen}", seen.output);
        assert_eq!(seen.stats().violations, 0);
    }

    // What the flow does not allow is noted and counted. The program goes on.
    let seen = tracer::test::record(give_away);
    println!("{seen}{} violations\n", seen.stats().violations);

    // In a test, it had better stop.
    std::panic::set_hook(Box::new(|_| {}));
    let strict = Tracer::builder().on_violation(Violation::Panic).build();
    let seen = tracer::test::record_with(strict, || std::panic::catch_unwind(give_away));
    let panic = seen.output.as_ref().expect_err("a violation panics");
    println!("{}", panic.downcast_ref::<String>().map_or("?", String::as_str));
}

// shipped
// receive
// ├─ reserve
// ├─ charge
// └─ ship
//
// shipped
// receive
// ├─ reserve
// ├─ charge ✗ declined
// ├─ charge
// └─ ship
//
// released
// receive
// ├─ reserve
// ├─ charge ✗ declined
// ├─ charge ✗ declined
// └─ release
//
// sold out
// receive
// └─ reserve ✗ nothing left
//
// give_away
// ├─ reserve
// └─ ship
// ! flow order has no edge (nothing) -> reserve
// ! flow order has no edge reserve -> ship
// 2 violations
//
// flow `order` does not begin with `reserve`: write `entry reserve;` if it may
