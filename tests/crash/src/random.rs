//! A program that does something of everything, at random: calls with and without values, errors that are handled or
//! not, panics, recursion, forks, calls deeper than a block is, and nodes by hand.

use std::future::{self, Future as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use fastrand::Rng;
use tracer::{Status, traced_node};

/// So many calls before `then`, in a frame that stays open.
#[traced_node(record(calls))]
pub(crate) fn within(calls: u64, then: &mut dyn FnMut()) {
    crate::work::plain_until(calls);
    then();
}

/// So many rounds on each of so many threads, and `beside` again and again until they are over.
pub(crate) fn on_threads(threads: usize, rounds: u32, seed: u64, mut beside: impl FnMut()) {
    let left = AtomicUsize::new(threads);
    thread::scope(|scope| {
        for nth in 0..threads {
            let (left, mut random) = (&left, Rng::with_seed(seed.wrapping_add(nth as u64)));
            scope.spawn(move || {
                for _ in 0..rounds {
                    run(&mut random, 20, 3);
                    deep();
                    suspended(&mut random);
                    // One that ends and one that begins.
                    thread::scope(|scope| drop(scope.spawn(leaf)));
                }
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while left.load(Ordering::Relaxed) > 0 {
            beside();
        }
    });
}

/// So many calls, and `then` in the midst of a page; then one with values, and more than a page has room for.
#[traced_node]
pub(crate) fn values_late(calls: u64, then: &mut dyn FnMut()) {
    valued_leaf(1);
    crate::work::plain_until(calls);
    by_hand();
    leaf();
    then();
    valued_leaf(2);
    crate::work::plain_until(1000);
    thread::scope(|scope| drop(scope.spawn(leaf)));
    by_hand();
    crate::work::plain_until(3000);
}

/// Futures side by side, of which some are dropped before they are over.
fn suspended(random: &mut Rng) {
    let (mut first, mut second) = (pin!(waits(3)), pin!(waits(5)));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..random.u32(..20) {
        let future = if random.bool() { &mut first } else { &mut second };
        if future.as_mut().poll(&mut context).is_ready() {
            break;
        }
        leaf();
    }
}

#[traced_node]
async fn waits(times: u32) {
    for n in 0..times {
        let inner = waits_once(n);
        leaf();
        inner.await;
    }
}

#[traced_node(record(n))]
async fn waits_once(n: u32) -> u32 {
    let mut is_over = false;
    future::poll_fn(|_| if std::mem::replace(&mut is_over, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    n
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
