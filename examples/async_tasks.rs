//! Does a trace follow into tasks, threads and futures that run side by side?
//!
//! Futures awaited in place need nothing. What runs elsewhere takes its place in the trace along: `branch` for
//! futures, `carry` for closures. `cargo run -p tracer-examples --example async_tasks`

use std::time::Duration;

use tokio::time::sleep;
use tracer::tree::Tree;
use tracer::{branch, carry, traced_node};

#[traced_node]
async fn quote(product: &'static str) -> Option<u32> {
    // Side by side in this task. The tree shows them as they are written, whoever is polled first.
    let (price, stock) = tracer::join!(price(product), stock(product));
    // In a task of its own.
    let reviews = tokio::spawn(branch(reviews(product)));
    // On a thread that may block.
    let picture = tokio::task::spawn_blocking(carry(|| shrink(1 << 20)));
    let rating = rating().await;
    let (reviews, picture) = (reviews.await.ok()?, picture.await.ok()?);
    (stock > 0 && reviews + picture + rating > 0).then_some(price)
}

#[traced_node]
async fn price(_product: &str) -> u32 {
    sleep(Duration::from_millis(2)).await;
    42
}

#[traced_node]
async fn stock(_product: &str) -> u32 {
    3
}

#[traced_node]
async fn reviews(_product: &str) -> u32 {
    tokio::task::yield_now().await;
    12
}

#[traced_node]
fn shrink(bytes: u32) -> u32 {
    bytes / 8
}

/// The first of two answers. The other future is dropped: its node ends as cancelled.
#[traced_node]
async fn rating() -> u32 {
    tokio::select! {
        rating = branch(near()) => rating,
        rating = branch(far()) => rating,
    }
}

#[traced_node]
async fn near() -> u32 {
    sleep(Duration::from_millis(1)).await;
    5
}

#[traced_node]
async fn far() -> u32 {
    sleep(Duration::from_mins(1)).await;
    4
}

#[tokio::main]
async fn main() {
    println!("{:?}\n", quote("lamp").await);
    for tree in Tree::of(&tracer::all_traces(), &tracer::active_traces()) {
        print!("{tree}");
    }
}

// Some(42)
//
// quote
// ├─ price
// ├─ stock
// ├─ reviews
// ├─ shrink
// └─ rating
//    ├─ near
//    └─ far ✗ cancelled
