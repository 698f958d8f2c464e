//! A traced call does not allocate once its thread has made a few: the memory recorder reuses what it has.
//!
//! Not so a running trace that alone outgrows the bound: to trim it takes a list for each chunk of 256 entries.
//!
//! One test, because the counter counts for the whole process.

use std::alloc::System;
use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tracer::{Tracer, traced_node};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[traced_node]
fn outer(calls: u64) -> u64 {
    (0..calls).map(middle).sum()
}

#[traced_node]
fn middle(x: u64) -> u64 {
    inner(x).unwrap_or(0)
}

#[traced_node]
fn inner(x: u64) -> Result<u64, u64> {
    Ok(black_box(x))
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

#[traced_node]
async fn outer_future(calls: u64) -> u64 {
    let mut sum = 0;
    for x in 0..calls {
        sum += middle_future(x).await;
    }
    sum
}

#[traced_node]
async fn middle_future(x: u64) -> u64 {
    Suspension::default().await;
    inner_future(x).await.unwrap_or(0)
}

#[traced_node]
async fn inner_future(x: u64) -> Result<u64, u64> {
    Suspension::default().await;
    Ok(black_box(x))
}

#[traced_node(record(order))]
fn recorded(order: &str) -> usize {
    order.len()
}

fn allocated(work: impl Fn()) -> Stats {
    // Until the memory is full and each table is as large as it gets.
    (0..200).for_each(|_| work());
    let region = Region::new(ALLOCATOR);
    work();
    region.change()
}

#[test]
fn calls_without_values_do_not_allocate() {
    Tracer::builder().max_bytes(256 << 10).install();
    let cases: [(&str, &dyn Fn()); 2] = [
        ("sync", &|| {
            (0..100).for_each(|_| {
                black_box(outer(10));
            });
        }),
        ("async", &|| {
            (0..100).for_each(|_| {
                black_box(block_on(outer_future(10)));
            });
        }),
    ];
    for (name, work) in cases {
        let change = allocated(work);
        assert_eq!((change.allocations, change.reallocations), (0, 0), "{name}: {change:?}");
    }
    // The control: a call with a value has to keep it somewhere.
    assert!(
        allocated(|| {
            black_box(recorded("tea"));
        })
        .allocations
            > 0
    );
}
