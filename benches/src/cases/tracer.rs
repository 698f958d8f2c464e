//! Ours: the memory recorder, which is the default.

use tracer::{Tracer, traced_node};

use super::{Case, Group, below, in_roots};
use crate::work::{Order, Suspension, block_on, order, step};

/// Fills the memory of the default bound, so that every chunk that is asked for has to be evicted first.
#[cfg(not(feature = "off"))]
const FULL: u64 = 2_000_000;

#[cfg(not(feature = "off"))]
pub(super) fn cases() -> Vec<Case> {
    let small = || drop(Tracer::builder().max_bytes(1 << 20).install());
    let off = || tracer::set_enabled(false);
    vec![
        Case::new(Group::Sync, "tracer, 1000 nodes a root", |n| in_roots(n, 1000, batch)).warmed_up(FULL),
        Case::new(Group::Sync, "tracer, 100 nodes a root", |n| in_roots(n, 100, batch)).warmed_up(FULL),
        Case::new(Group::Sync, "tracer, 10 nodes a root", |n| in_roots(n, 10, batch)).warmed_up(FULL),
        Case::new(Group::Sync, "tracer, 1000 nodes a root, 1 MiB", |n| in_roots(n, 1000, batch)).prepared(small),
        Case::new(Group::Sync, "tracer, all nodes in one root", |n| in_roots(n, n, batch)).warmed_up(FULL),
        Case::new(Group::Sync, "tracer, black box, 1000 nodes a root", |n| in_roots(n, 1000, batch))
            .prepared(black_box)
            .warmed_up(FULL),
        Case::new(Group::Sync, "tracer, black box, 100 nodes a root", |n| in_roots(n, 100, batch))
            .prepared(black_box)
            .warmed_up(FULL),
        Case::new(Group::Sync, "tracer, black box, 10 nodes a root", |n| in_roots(n, 10, batch))
            .prepared(black_box)
            .warmed_up(FULL),
        Case::new(Group::Async, "tracer, 1000 nodes a root", |n| in_roots(n, 1000, batch_of_futures)).warmed_up(FULL),
        Case::new(Group::Async, "tracer, black box, 1000 nodes a root", |n| in_roots(n, 1000, batch_of_futures))
            .prepared(black_box)
            .warmed_up(FULL),
        Case::new(Group::Recorded, "tracer, 1000 nodes a root", orders).warmed_up(FULL),
        Case::new(Group::Recorded, "tracer, black box, 1000 nodes a root", orders).prepared(black_box).warmed_up(FULL),
        Case::new(Group::Recorded, "tracer, black box, argument and result", orders_and_results)
            .prepared(black_box)
            .warmed_up(FULL),
        Case::new(Group::Off, "tracer, set_enabled(false)", |n| in_roots(n, 1000, batch)).prepared(off),
        Case::new(Group::Off, "tracer, set_enabled(false), async", |n| in_roots(n, 1000, batch_of_futures))
            .prepared(off),
    ]
}

/// Records into a file from now on. The file has no name any more, so nothing is left of it.
#[cfg(not(feature = "off"))]
fn black_box() {
    let directory = std::env::temp_dir().join(format!("tracer-bench-{}", std::process::id()));
    let recorder = tracer_blackbox::BlackBox::open(&directory).expect("a place for a file");
    std::fs::remove_dir_all(&directory).expect("made above");
    Tracer::builder().recorder(recorder).install();
}

#[cfg(not(feature = "off"))]
fn orders(calls: u64) {
    let order = order();
    in_roots(calls, 1000, |nodes| batch_of_orders(nodes, &order));
}

#[cfg(not(feature = "off"))]
fn orders_and_results(calls: u64) {
    let order = order();
    in_roots(calls, 1000, |nodes| batch_of_orders_and_results(nodes, &order));
}

#[cfg(feature = "off")]
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(Group::Off, "tracer, compiled out", |n| in_roots(n, 1000, batch)),
        Case::new(Group::Off, "tracer, compiled out, async", |n| in_roots(n, 1000, batch_of_futures)),
        Case::new(Group::Off, "tracer, compiled out, recorded", |n| {
            let order = order();
            in_roots(n, 1000, |nodes| batch_of_orders(nodes, &order));
        })
        .prepared(|| drop(Tracer::global())),
    ]
}

#[inline(never)]
#[traced_node]
fn batch(nodes: u64) -> u64 {
    below(nodes, leaf)
}

#[inline(never)]
#[traced_node]
fn leaf(x: u64) -> u64 {
    step(x)
}

#[inline(never)]
#[traced_node]
fn batch_of_futures(nodes: u64) -> u64 {
    below(nodes, |x| block_on(future(x)))
}

#[traced_node]
async fn future(x: u64) -> u64 {
    Suspension::default().await;
    step(x)
}

#[inline(never)]
#[traced_node]
fn batch_of_orders(nodes: u64, order: &Order) -> u64 {
    below(nodes, |_| with_order(order))
}

#[inline(never)]
#[traced_node(record(order))]
fn with_order(order: &Order) -> u64 {
    step(order.id)
}

#[cfg(not(feature = "off"))]
#[inline(never)]
#[traced_node]
fn batch_of_orders_and_results(nodes: u64, order: &Order) -> u64 {
    below(nodes, |_| with_order_and_result(order))
}

#[cfg(not(feature = "off"))]
#[inline(never)]
#[traced_node(record(order, ret))]
fn with_order_and_result(order: &Order) -> u64 {
    step(order.id)
}
