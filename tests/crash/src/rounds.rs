//! Traces that go on when their first records were written over, each in its own way.

use std::cell::Cell;
use std::future::{self, Future};
use std::pin::pin;
use std::sync::{Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use serde_json::json;
use tracer::{Context, Status, Tracer, traced_node};

use crate::os;
use crate::work::plain_until;

/// So many calls, in a trace that ends after them.
pub(crate) fn run(how: &str, calls: u64) {
    match how {
        "fails" => assert!(fails(calls).is_err()),
        "panics" => drop(thread::spawn(move || panics(calls)).join()),
        "recovers" => recovers(calls),
        "forks" => forks(calls),
        "context" => {
            let ctx = tracer::create_env(json!({"order": 17}), "webhook");
            assert!(fails_at(&ctx, calls).is_err());
        }
        "hand" => {
            let mut ctx = tracer::create_env(json!({"order": 17}), "webhook");
            for n in 0..calls / 8 {
                ctx = ctx.step("check", Status::Enter, n).unwrap().step("check", Status::Exit, ()).unwrap();
            }
            drop(ctx.step("send", Status::Enter, ()).unwrap().step("send", Status::Error, "nobody there").unwrap());
        }
        "ends" => assert!(ends(calls).is_err()),
        "unwinds" => assert!(unwinds(calls).is_err()),
        "shares" => shares(calls),
        "pages" => {
            // Each of them in the pages of all.
            let threads: Vec<_> = (0..4_u64).map(|nth| thread::spawn(move || many(nth, calls))).collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        other => panic!("no way {other}"),
    }
}

#[traced_node]
fn fails(calls: u64) -> Result<(), &'static str> {
    plain_until(calls);
    send(17)
}

#[traced_node(record(order))]
fn send(order: u64) -> Result<(), &'static str> {
    if order > 0 { Err("nobody there") } else { Ok(()) }
}

#[traced_node]
fn panics(calls: u64) {
    plain_until(calls);
    panic!("no such luck");
}

#[traced_node]
fn recovers(calls: u64) {
    assert!(send(17).is_err());
    plain_until(calls);
}

#[traced_node]
fn forks(calls: u64) {
    let there = tracer::carry(move || {
        leaf();
        plain_until(calls);
        assert!(send(17).is_err());
    });
    thread::spawn(there).join().unwrap();
}

#[traced_node]
fn leaf() {}

/// Whose end is the only record behind what was written over.
#[traced_node]
fn ends(calls: u64) -> Result<(), &'static str> {
    others(calls);
    Err("too many")
}

/// Likewise, of a note.
#[traced_node]
fn unwinds(calls: u64) -> Result<(), &'static str> {
    let sent = send(17);
    others(calls);
    sent
}

/// Other traces in this thread.
fn others(calls: u64) {
    for n in 0..calls / 8 {
        drop(tracer::create_env((), "other").step("step", Status::Enter, n).unwrap());
    }
}

/// In a thread that has no page of its own, as others have all that there are.
fn shares(calls: u64) {
    const OTHERS: usize = 20;
    let (begun, over) = (Barrier::new(OTHERS + 1), Barrier::new(OTHERS + 1));
    thread::scope(|scope| {
        for _ in 0..OTHERS {
            scope.spawn(|| {
                leaf();
                begun.wait();
                over.wait();
            });
        }
        begun.wait();
        assert!(scope.spawn(move || fails(calls)).join().unwrap().is_err());
        over.wait();
    });
}

/// Two futures on one thread, one of which goes on now and then.
pub(crate) fn in_turns(calls: u64, then: &dyn Fn()) {
    let (mut often, mut seldom) = (pin!(goes_on()), pin!(goes_on()));
    let mut context = std::task::Context::from_waker(Waker::noop());
    for n in 0..calls / 8 {
        assert!(often.as_mut().poll(&mut context).is_pending());
        if n % 100 == 0 {
            assert!(seldom.as_mut().poll(&mut context).is_pending());
        }
    }
    then();
}

#[traced_node]
async fn goes_on() {
    loop {
        plain_until(8);
        let mut is_over = false;
        future::poll_fn(|_| if std::mem::replace(&mut is_over, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Futures and contexts that two threads take on in turns, so often.
pub(crate) fn passed_on(times: u64, then: &dyn Fn()) {
    let turn = Barrier::new(2);
    let futures: Vec<_> = (0..3).map(|_| Mutex::new(Box::pin(goes_on()))).collect();
    let contexts: Vec<_> = (0..3).map(|_| Mutex::new(Some(tracer::create_env((), "webhook")))).collect();
    let go_on = |is_first: bool| {
        let mut context = std::task::Context::from_waker(Waker::noop());
        for n in 0..times {
            if (n % 2 == 0) == is_first {
                for future in &futures {
                    assert!(future.lock().unwrap().as_mut().poll(&mut context).is_pending());
                }
                for ctx in &contexts {
                    let (mut ctx, status) =
                        (ctx.lock().unwrap(), if n % 2 == 0 { Status::Enter } else { Status::Exit });
                    *ctx = Some(ctx.take().unwrap().step("check", status, ()).unwrap());
                }
            }
            turn.wait();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| go_on(true));
        go_on(false);
    });
    then();
}

/// In a line that has no block, as another has the only one.
pub(crate) fn beside_another(calls: u64, then: &(dyn Fn() + Sync)) {
    crate::work::outer(17, &|| {
        thread::scope(|scope| drop(scope.spawn(|| crate::work::long_plain(calls, then)).join()));
    });
}

#[traced_node("fails")]
fn fails_at(_ctx: &tracer::Context, calls: u64) -> Result<(), &'static str> {
    plain_until(calls);
    send(17)
}

/// Calls each of these nodes in the one before it.
macro_rules! nested {
    ($last:ident) => {
        #[traced_node]
        fn $last(then: &dyn Fn()) {
            then();
        }
    };
    ($node:ident $next:ident $($more:ident)*) => {
        #[traced_node]
        fn $node(then: &dyn Fn()) {
            $next(then);
        }
        nested!($next $($more)*);
    };
}

nested!(n00 n01 n02 n03 n04 n05 n06 n07 n08 n09 n10 n11 n12 n13 n14 n15 n16 n17 n18 n19 n20 n21 n22 n23 n24 n25 n26 n27
    n28 n29 n30 n31 n32 n33 n34 n35 n36 n37 n38 n39);

/// So many calls, and then `then`, in forty that are open; `before` that, others that have come and gone.
pub(crate) fn deep(calls: u64, before: &str, then: &dyn Fn()) {
    match before {
        "nothing" => {}
        "fails" => drop(std::panic::catch_unwind(|| n20(&|| panic!("as it was meant to")))),
        // The line goes on in another env, and its frames with it.
        "recovers" | "recovers twice" => {
            return n00(&|| {
                for _ in 0..if before == "recovers" { 1 } else { 2 } {
                    assert!(send(17).is_err());
                }
                plain_until(calls);
                then();
            });
        }
        other => panic!("no way {other}"),
    }
    n00(&|| {
        plain_until(calls);
        then();
    });
}

/// In a call that is open, behind a fork that is over.
#[traced_node]
pub(crate) fn beside_a_fork(then: &dyn Fn()) {
    tracer::carry(leaf)();
    then();
}

/// Calls of all kinds in ten that are open, all of which have been there before.
pub(crate) fn shallow(seed: u64, then: &dyn Fn()) {
    for is_last in [false, true] {
        n30(&|| {
            crate::random::run(&mut fastrand::Rng::with_seed(seed), 40, 3);
            if is_last {
                then();
            }
        });
    }
}

/// So many lines at once, and so many calls in another that is over then.
pub(crate) fn lines(lines: usize, calls: u64, then: &dyn Fn()) {
    let begun = Barrier::new(lines + 1);
    thread::scope(|scope| {
        for _ in 0..lines {
            scope.spawn(|| {
                crate::work::outer(17, &|| {
                    begun.wait();
                    thread::park();
                });
            });
        }
        begun.wait();
        plain_until(calls);
        then();
    });
}

/// Traces of all lengths, their calls with and without values, some in envs of their own.
fn many(seed: u64, calls: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..calls {
        crate::random::run(&mut random, 200, 3);
    }
}

/// Steps by hand, some of which are open, and so many calls.
pub(crate) fn by_hand(how: &str, calls: u64, then: &dyn Fn()) {
    let enter = |ctx: Context, node: &str| ctx.step(node, Status::Enter, json!({"of": node})).unwrap();
    let exit = |ctx: Context, node: &str| ctx.step(node, Status::Exit, ()).unwrap();
    let create = || tracer::create_env((), "webhook");
    let ctx = enter(enter(create(), "parse"), "check");
    match how {
        "open" => {
            // What was entered between two that stay, and ended.
            let ctx = enter(enter(exit(enter(ctx, "look"), "look"), "charge"), "charge.card");
            let fork = enter(ctx.fork(), "send");
            // Others end all at once: with their context, by an error, by a step after which none is left.
            drop(enter(ctx.fork(), "dropped"));
            let failed = enter(enter(ctx.fork(), "outer"), "inner");
            let late = Context::resume(failed.token()).unwrap();
            let failed = failed.step("inner", Status::Error, ()).unwrap();
            let idle = exit(enter(create(), "ended"), "ended");
            let ctx = exit(ctx, "charge");
            plain_until(calls);
            then();
            drop((ctx, fork, failed, late, idle));
        }
        "later" => {
            let (over, failed) = (enter(create(), "over"), enter(enter(ctx.fork(), "outer"), "inner"));
            then();
            drop(over);
            std::mem::forget(exit(ctx, "check"));
            drop(failed.step("inner", Status::Error, ()).unwrap());
        }
        "elsewhere" => {
            // Whoever has its token goes on with it, and another that is gone has no say.
            let token = ctx.token();
            let resumed = thread::spawn(move || exit(Context::resume(token).unwrap(), "parse")).join().unwrap();
            drop(ctx);
            let ctx = resumed;
            plain_until(calls);
            then();
            drop(ctx);
        }
        "resumed" => {
            let token = ctx.token();
            drop(ctx);
            let _another = enter(create(), "another");
            let ctx = Context::resume(token).unwrap();
            plain_until(calls);
            then();
            drop(ctx);
        }
        "many" => {
            let ctx = (0..18).fold(ctx, |ctx, nth| enter(ctx, &format!("n{nth:02}")));
            // There is room for another then.
            let ctx = exit(exit(ctx, "n03"), "n17");
            plain_until(calls);
            then();
            drop(ctx);
        }
        "cleared" => {
            Tracer::global().clear();
            let _another = enter(create(), "another");
            plain_until(calls);
            then();
            drop(ctx);
        }
        "lines" => {
            let others: Vec<_> = (0..3).map(|_| enter(create(), "another")).collect();
            plain_until(calls);
            then();
            drop((ctx, others));
        }
        "over" => {
            drop(ctx);
            let all: Vec<_> = (0..20).map(|_| enter(create(), "ended")).collect();
            drop(all);
            // Nothing is open in them, whoever may go on.
            let all: Vec<_> = (0..20).map(|_| exit(enter(create(), "ended"), "ended")).collect();
            let ctx = enter(create(), "another");
            plain_until(calls);
            then();
            drop((ctx, all));
        }
        other => panic!("no way {other}"),
    }
}

/// A step by hand in a child, of an env that began before it was forked.
pub(crate) fn forked_by_hand(then: &dyn Fn()) {
    let ctx = tracer::create_env((), "webhook").step("parse", Status::Enter, json!({"of": "parse"})).unwrap();
    let of_another = thread::spawn(|| tracer::create_env((), "webhook").step("another", Status::Enter, ()).unwrap());
    let (of_another, ctx) = (of_another.join().unwrap(), Cell::new(Some(ctx)));
    // Nobody has looked yet which traces there are.
    let fresh = Cell::new(Some(tracer::create_env((), "webhook")));
    os::wait_for(os::fork(|| {
        std::mem::forget(fresh.take().unwrap().step("fresh", Status::Enter, json!({"of": "fresh"})).unwrap());
        std::mem::forget(ctx.take().unwrap().step("check", Status::Enter, json!({"of": "check"})).unwrap());
    }));
    then();
    drop((ctx, fresh, of_another));
}
