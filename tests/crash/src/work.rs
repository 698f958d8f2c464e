//! Traced functions for the programs that are killed.

use std::future::Future;
use std::hint::black_box;
use std::io::{Read, Write};
use std::panic;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use serde_json::json;
use tracer::execution::{ExecutionManager, MemoryStore, NewExecution};
use tracer::{Clock, Status, SystemClock, traced_node};
use tracer_blackbox::BlackBox;

use crate::acknowledge::Acknowledged;
use crate::os;

/// One call of many, told by its number.
#[traced_node(record(n))]
pub(crate) fn item(thread: u64, n: u64) -> u64 {
    black_box(thread + n)
}

#[traced_node]
pub(crate) fn plain(n: u64) -> u64 {
    black_box(n)
}

#[traced_node]
fn items(thread: u64, acknowledged: &Acknowledged) {
    for n in 0.. {
        item(thread, n);
        plain(n);
        acknowledged.set(thread, n + 1);
    }
}

#[traced_node("item", record(n))]
async fn item_later(thread: u64, n: u64) -> u64 {
    Suspension::default().await;
    black_box(thread + n)
}

#[traced_node("plain")]
async fn plain_later(n: u64) -> u64 {
    Suspension::default().await;
    black_box(n)
}

#[traced_node("items")]
async fn items_later(thread: u64, acknowledged: &Acknowledged) {
    for n in 0.. {
        item_later(thread, n).await;
        plain_later(n).await;
        acknowledged.set(thread, n + 1);
    }
}

#[derive(Default)]
struct Suspension(bool);

impl Future for Suspension {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Calls on so many threads, each acknowledged when it has returned, until it is killed.
pub(crate) fn count(directory: &str, threads: u64, is_async: bool) {
    let acknowledged = Acknowledged::open(directory);
    println!("ready");
    std::io::stdout().flush().unwrap();
    thread::scope(|scope| {
        for nth in 0..threads {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                if is_async {
                    block_on(items_later(nth, acknowledged));
                } else {
                    items(nth, acknowledged);
                }
            });
        }
    });
}

/// So many calls; then, under a tracer, `then`; and one call after the other. Stops before each.
#[traced_node("items")]
pub(crate) fn items_in_steps(directory: &str, before: u64, then: &dyn Fn()) {
    let acknowledged = Acknowledged::open(directory);
    let one = |n| {
        item(0, n);
        plain(n);
        acknowledged.set(0, n + 1);
    };
    (0..before).for_each(one);
    os::stop_when_traced();
    then();
    for n in before.. {
        one(n);
        os::stop();
    }
}

pub(crate) fn items_until(end: u64) {
    for n in 0..end {
        item(0, n);
    }
}

/// Likewise, each begun by one thread and ended by another, as of a runtime that steals tasks.
pub(crate) fn moving_items_until(end: u64) {
    let (send, receive) = mpsc::sync_channel(64);
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..end {
                let mut future = Box::pin(item_later(0, n));
                assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                send.send(future).unwrap();
            }
        });
        scope.spawn(move || receive.into_iter().for_each(|future| _ = block_on(future)));
    });
}

pub(crate) fn plain_until(end: u64) {
    for n in 0..end {
        plain(n);
    }
}

/// Two nodes deep, with arguments, when `then` runs.
#[traced_node(record(order))]
pub(crate) fn outer(order: u64, then: &dyn Fn()) {
    plain(order);
    inner("tea", "hunter2", then);
}

/// Likewise in two threads, each in a trace of its own.
pub(crate) fn in_two_threads(then: &(dyn Fn() + Sync)) {
    // The first call of a function is not a common one.
    outer(0, &|| ());
    let both = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            outer(1, &|| {
                both.wait();
                thread::park();
            });
        });
        outer(2, &|| {
            both.wait();
            then();
        });
    });
}

#[traced_node(record(what, password))]
fn inner(what: &str, password: &str, then: &dyn Fn()) {
    black_box((what, password));
    then();
}

#[traced_node(record)]
pub(crate) fn login(user: &str, password: &str) {
    black_box((user, password));
}

/// More calls than there is room for, in one that is open all the time.
#[traced_node(record(calls))]
pub(crate) fn long(calls: u64, then: &dyn Fn()) {
    for n in 0..calls {
        item(0, n);
    }
    middle(then);
}

/// Likewise, of calls without values.
#[traced_node(record(calls))]
pub(crate) fn long_plain(calls: u64, then: &dyn Fn()) {
    plain_until(calls);
    middle(then);
}

/// Likewise, in two more that are open: one with values that have room beside a frame, one with values that have not.
pub(crate) fn long_in_two(calls: u64, then: &dyn Fn()) {
    // The first call of a function is not a common one.
    ordered(1, &|| told("", &|| long(1, &|| ())));
    ordered(17, &|| told("more than has room beside a frame", &|| long(calls, then)));
}

#[traced_node(record(order))]
fn ordered(order: u64, then: &dyn Fn()) {
    black_box(order);
    then();
}

#[traced_node(record(text))]
fn told(text: &str, then: &dyn Fn()) {
    black_box(text);
    then();
}

#[traced_node]
fn middle(then: &dyn Fn()) {
    then();
}

/// So many threads, one after the other, each with a few calls.
pub(crate) fn threads(threads: u64, at_once: u64) {
    for first in (0..threads).step_by(usize::try_from(at_once).unwrap()) {
        thread::scope(|scope| {
            for nth in first..(first + at_once).min(threads) {
                scope.spawn(move || item(nth, nth));
            }
        });
    }
}

pub(crate) struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("second");
    }
}

/// Takes more stack than there is.
pub(crate) fn overflow() {
    black_box(endless(0));
}

#[expect(unconditional_recursion, reason = "until the stack is full")]
fn endless(n: u64) -> [u64; 64] {
    let mut more = endless(black_box(n + 1));
    more[0] += black_box(n);
    more
}

/// Forks in the midst of two calls; both go on recording.
pub(crate) fn fork(black_box: &BlackBox, then: &dyn Fn()) {
    // A thread that the child will not have, in the midst of a call.
    thread::scope(|scope| {
        scope.spawn(|| elsewhere(&|| thread::sleep(std::time::Duration::from_millis(300))));
        thread::sleep(std::time::Duration::from_millis(50));
        parent(17, &|| {
            let child = os::fork(|| {
                let now = || SystemClock.unix_ns(SystemClock.ticks());
                let begun = now();
                in_child(4);
                let took = now() - begun;
                println!("{took} {}", black_box.path().unwrap().display());
                in_child_open(5, &|| {
                    std::io::stdout().flush().unwrap();
                    os::exit_at_once();
                });
            });
            for n in 0..1000 {
                item(0, n);
            }
            os::wait_for(child);
            then();
        });
    });
}

/// Forks in a line that has no block, as another had the only one. That is free in the child, which takes it for a third.
pub(crate) fn fork_outside() {
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let other = thread::spawn(move || {
        outer(17, &|| {
            begun.send(()).unwrap();
            ends.recv().unwrap_err();
        });
    });
    begins.recv().unwrap();
    let (end, other) = (std::cell::Cell::new(Some(end)), std::cell::Cell::new(Some(other)));
    elsewhere(&|| {
        drop(end.take());
        other.take().unwrap().join().unwrap();
        os::wait_for(os::fork(|| {
            in_child_open(5, &|| {
                plain(1);
                thread::spawn(|| item(0, 0)).join().unwrap();
                os::exit_at_once();
            });
        }));
    });
}

/// Forks when the file is lost, if there is one; both say why there is none, or no whole one, and how many records they have.
pub(crate) fn fork_degraded(black_box: &BlackBox) {
    let say = || {
        item(0, 0);
        println!("{} {}", black_box.degraded().unwrap_or_default(), tracer::all_traces().len());
    };
    if let Some(path) = black_box.path() {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    }
    say();
    std::io::stdout().flush().unwrap();
    os::wait_for(os::fork(|| {
        say();
        std::io::stdout().flush().unwrap();
    }));
}

/// Forks in the midst of a call where something is in the way of the child; both record.
pub(crate) fn fork_in_trouble(trouble: &str) {
    parent(17, &|| {
        match trouble {
            "second" => os::refuse("second", 12),
            "overlay" => ["second", "overlay"].into_iter().for_each(|call| os::refuse(call, 12)),
            "data" => os::limit_data(1 << 20),
            "panic" => panics(),
            _ => {}
        }
        let child = os::fork(|| {
            if trouble == "file" {
                os::refuse("openat", 13);
            }
            (0..1000).for_each(in_orphan);
            match trouble {
                "panic" => std::process::exit(101),
                "overlay" => std::process::exit(0),
                _ => {}
            }
        });
        (0..1000).for_each(|n| _ = item(0, n));
        assert!(os::wait_for(child), "it ended of itself");
    });
    if trouble == "overlay" {
        os::kill();
    }
}

/// Forks when a trace has ended; then both record more.
pub(crate) fn fork_between_traces() {
    let three = || (0..3).for_each(|n| _ = item(0, n));
    three();
    os::wait_for(os::fork(three));
    three();
}

/// Forks without a box when an execution, or only a trace, has its name; then both name more, and say how.
pub(crate) fn fork_between_executions(traced: bool) {
    let manager = ExecutionManager::new(MemoryStore::default());
    let id = || manager.prepare(NewExecution::new("work")).unwrap().id();
    let three = || println!("{} {} {}", id(), id(), id());
    if traced {
        item(0, 0);
    } else {
        three();
    }
    os::wait_for(os::fork(three));
    three();
}

/// Forks again and again while other threads do something; how many children could do it, too, and go on.
pub(crate) fn fork_beside(others: usize, something: fn()) -> usize {
    let (begun, begins) = std::sync::mpsc::channel();
    for _ in 0..others {
        let begun = begun.clone();
        thread::spawn(move || {
            loop {
                something();
                _ = begun.send(());
            }
        });
    }
    begins.recv().unwrap();
    let ends = |_: &usize| {
        os::wait_for(os::fork(|| {
            os::die_in(5);
            something();
        }))
    };
    (0..50).filter(ends).count()
}

pub(crate) fn panics() {
    drop(panic::catch_unwind(|| panic!("and goes on")));
}

pub(crate) fn by_hand() {
    let context = tracer::create_env((), "test").step("by_hand", Status::Enter, ()).unwrap();
    context.step("by_hand", Status::Exit, ()).unwrap();
}

/// Forks in the midst of a call; the child records nothing before its parent is killed, and goes on then.
pub(crate) fn fork_and_die(then: &dyn Fn()) {
    parent(17, &|| {
        os::fork(|| {
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            for n in 0..1000 {
                in_orphan(n);
            }
            in_child_open(5, &|| os::exit_at_once());
        });
        for n in 0..1000 {
            item(0, n);
        }
        then();
    });
}

#[traced_node(record(n))]
fn in_orphan(n: u64) {
    black_box(n);
}

#[traced_node]
fn elsewhere(then: &dyn Fn()) {
    then();
}

#[traced_node(record(order))]
fn parent(order: u64, then: &dyn Fn()) {
    black_box(order);
    then();
}

#[traced_node(record(n))]
fn in_child(n: u64) -> u64 {
    // Less than passes between two pairs of the clocks.
    thread::sleep(std::time::Duration::from_millis(50));
    n
}

#[traced_node(record(n))]
fn in_child_open(n: u64, then: &dyn Fn()) {
    black_box(n);
    then();
}

/// Something of everything: values, errors, recursion, a declared flow, another env, and open nodes.
pub(crate) fn golden(then: &dyn Fn()) {
    outer(1, &|| ());
    fail();
    again(3);
    std::thread::spawn(tracer::carry(|| item(1, 2))).join().unwrap();
    let by_hand = tracer::create_env((), "webhook").step("deliver", Status::Enter, json!({"to": "Ada"})).unwrap();
    outer(2, then);
    drop(by_hand);
}

/// An error that has a text.
pub(crate) fn fail() {
    assert!(fails(3).is_err());
}

#[traced_node(record)]
fn fails(n: u32) -> Result<u32, std::num::ParseIntError> {
    plain(1);
    format!("{n}x").parse()
}

#[traced_node]
fn again(n: u32) {
    if n > 0 {
        again(n - 1);
    }
}
