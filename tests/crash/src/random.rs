//! A program that does something of everything, at random: calls with and without values, errors that are handled or
//! not, panics, recursion, forks, calls deeper than a block is, and nodes by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use tracer::{Status, traced_node};

/// So many calls before `then`, in a frame that stays open.
#[traced_node(record(calls))]
pub(crate) fn within(calls: u64, then: &mut dyn FnMut()) {
    crate::work::plain_until(calls);
    then();
}

/// Runs it. `depth` bounds how deep calls go.
#[traced_node]
pub(crate) fn run(random: &mut Rng, calls: u32, depth: u32) {
    for _ in 0..calls {
        call(random, depth);
    }
}

fn call(random: &mut Rng, depth: u32) {
    let Some(depth) = depth.checked_sub(1) else { return leaf() };
    match random.u8(0..12) {
        0..3 => leaf(),
        3..5 => plain(random, depth),
        5..7 => drop(valued(random.u32(..), random, depth)),
        7 => drop(fails(random, depth)),
        8 => drop(catch_unwind(AssertUnwindSafe(|| panics(random, depth)))),
        9 => again(random.u32(1..4)),
        10 => drop(tracer::carry(|| valued(7, random, depth))()),
        _ => by_hand(),
    }
}

#[traced_node]
fn leaf() {}

#[traced_node]
fn plain(random: &mut Rng, depth: u32) {
    for _ in 0..random.u32(..3) {
        call(random, depth);
    }
}

#[traced_node(record(n, ret))]
fn valued(n: u32, random: &mut Rng, depth: u32) -> u32 {
    call(random, depth);
    n
}

#[traced_node]
fn fails(random: &mut Rng, depth: u32) -> Result<(), &'static str> {
    call(random, depth);
    Err("as it was meant to")
}

#[traced_node]
fn panics(random: &mut Rng, depth: u32) {
    call(random, depth);
    std::panic::resume_unwind(Box::new("as it was meant to"));
}

#[traced_node]
fn again(n: u32) {
    if n > 0 {
        again(n - 1);
    }
}

fn by_hand() {
    let ctx = tracer::create_env((), "by hand");
    let ctx = ctx.step("hand", Status::Enter, ()).expect("it is idle");
    leaf_at(&ctx);
    drop(ctx.step("hand", Status::Exit, ()));
}

#[traced_node("leaf")]
fn leaf_at(_ctx: &tracer::Context) {}

/// Calls each of these nodes in the one before it.
macro_rules! nested {
    ($last:ident) => {
        #[traced_node]
        fn $last() {
            valued_leaf(1);
            leaf();
            assert!(fails(&mut Rng::with_seed(1), 0).is_err());
            leaf();
        }
    };
    ($node:ident $next:ident $($more:ident)*) => {
        #[traced_node]
        fn $node() {
            $next();
        }
        nested!($next $($more)*);
    };
}

#[traced_node(record)]
fn valued_leaf(n: u32) -> u32 {
    n
}

nested!(d01 d02 d03 d04 d05 d06 d07 d08 d09 d10 d11 d12 d13 d14 d15);

/// More frames than a block has.
#[traced_node]
pub(crate) fn deep() {
    leaf();
    d01();
    leaf();
}
