//! What the figures are compared with: two readings of the clock, and the functions without any tracing.

use std::hint::black_box;

use super::{Case, Group, below, in_roots};
use crate::work::{Order, Suspension, block_on, order, step};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(Group::Off, "plain", |n| in_roots(n, 1000, batch)),
        Case::new(Group::Off, "plain, async", |n| in_roots(n, 1000, batch_of_futures)),
    ];
    if cfg!(not(feature = "off")) {
        cases.extend([
            Case::new(Group::Sync, "2 x TSC read", |n| {
                for _ in 0..n {
                    black_box(tick());
                    black_box(tick());
                }
            }),
            Case::new(Group::Sync, "plain", |n| in_roots(n, 1000, batch)),
            Case::new(Group::Async, "plain", |n| in_roots(n, 1000, batch_of_futures)),
            Case::new(Group::Recorded, "plain", |n| {
                let order = order();
                in_roots(n, 1000, |nodes| below(nodes, |_| with_order(&order)));
            }),
        ]);
    }
    cases
}

#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn tick() -> u64 {
    tick_counter::x86_64_tick_counter()
}

#[cfg(target_arch = "aarch64")]
#[inline]
pub(super) fn tick() -> u64 {
    tick_counter::aarch64_tick_counter()
}

#[inline(never)]
fn batch(nodes: u64) -> u64 {
    below(nodes, leaf)
}

#[inline(never)]
fn leaf(x: u64) -> u64 {
    step(x)
}

#[inline(never)]
fn batch_of_futures(nodes: u64) -> u64 {
    below(nodes, |x| block_on(future(x)))
}

async fn future(x: u64) -> u64 {
    Suspension::default().await;
    step(x)
}

#[inline(never)]
fn with_order(order: &Order) -> u64 {
    step(order.id)
}
