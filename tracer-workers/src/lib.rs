//! Runs [executions](tracer::execution) on tokio.
//!
//! ```
//! use serde::Deserialize;
//! use tracer::execution::{ExecutionManager, Failure, MemoryStore, NewExecution};
//! use tracer_workers::{Attempt, Worker};
//!
//! #[derive(Deserialize)]
//! struct Invoice {
//!     order: u32,
//! }
//!
//! async fn send(attempt: Attempt, invoice: Invoice) -> Result<String, Failure> {
//!     let number: u32 = match attempt.kept("number") {
//!         Some(number) => number, // An attempt before this one has come so far.
//!         None => attempt.keep("number", 4711).await?,
//!     };
//!     Ok(format!("order {} has invoice {number}", invoice.order))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let manager = ExecutionManager::new(MemoryStore::default());
//! let worker = Worker::new(manager.clone()).handler("send-invoice", send).start();
//! manager.create(NewExecution::new("send-invoice").payload(serde_json::json!({ "order": 17 }))).await?;
//! # while manager.list(Default::default()).await?[0].status.is_waiting() { tokio::task::yield_now().await }
//! worker.shutdown(std::time::Duration::from_secs(10)).await;
//! # assert_eq!(manager.list(Default::default()).await?[0].result, Some("order 17 has invoice 4711".into()));
//! # Ok::<_, tracer::execution::ExecutionError>(()) }).unwrap();
//! ```
//!
//! # What a worker promises
//!
//! - An execution runs at least once, and in one place at a time, unless it [blocks](#work-that-blocks): under a lease that
//!   heartbeats extend. A worker that cannot reach its store stops its handlers before anybody else may take their
//!   executions over. Whoever ends an attempt by hand, though, and has it tried again at once (`timeout`, then `retry`),
//!   does so up to three seconds before its worker hears of it.
//! - What a worker leaves behind when it dies is taken over by any other within the lease (30 s unless said) and a second.
//!   It counts as an attempt; when all are used up, the execution has failed with `LEASE_LOST`.
//! - A panic is a failure with the code `PANIC`, and may be retried. An error that became a [`Failure`] by `?` may be
//!   retried, too; one that is made by [`Failure::new`] is as it says.
//! - Cancelling an execution reaches its handler: [`Attempt::cancelled`]. If it does not return soon, it is dropped.
//! - Every attempt runs in a trace of its own, whose ids follow from the execution ([`Lease::trace_id`]); nodes with
//!   `checkpoint` in it keep their results for later attempts.
//! - Time is the store's, but for one thing: how long a worker trusts a lease, which it measures from before it asked.
//!
//! # Work that blocks
//!
//! What extends leases, and what stops a handler, are tasks of the runtime that handlers run on. Handlers that compute or
//! block without an `.await` hold up a thread each; once they have held up all of them for as long as a lease, the leases are
//! over, others begin the same executions, and nobody here could tell the handlers. Hand such work over:
//!
//! ```
//! use tracer::execution::Failure;
//! use tracer_workers::Attempt;
//!
//! async fn resize(attempt: Attempt, files: Vec<String>) -> Result<usize, Failure> {
//!     let work = move || {
//!         for file in &files {
//!             if attempt.is_cancelled() {
//!                 return Err(Failure::new("stopped on the way").retryable(true));
//!             }
//!             // Resizes `file`: a second or so.
//!             # _ = file;
//!         }
//!         Ok(files.len())
//!     };
//!     tokio::task::spawn_blocking(work).await?
//! }
//! # drop(tracer_workers::Worker::new(tracer::execution::ExecutionManager::new(tracer::execution::MemoryStore::default())).handler("resize", resize));
//! ```
//!
//! A handler can be dropped, and what it has handed over to a thread cannot: that goes on beyond the end of its attempt, be it by
//! a timeout, a cancellation, a shutdown or the loss of the lease, while another attempt begins. So have it ask
//! [`is_cancelled`](Attempt::is_cancelled) as often as you want it to stop in time, which holds from the end of the attempt on,
//! and where two at once would do harm, send the [epoch](Attempt::lease) along. `block_in_place` keeps the heartbeats going,
//! too, and ends with its attempt, which can neither time out nor be stopped here before it returns.
//!
//! [`Lease::trace_id`]: tracer::execution::Lease::trace_id
//! [`Failure`]: tracer::execution::Failure
//! [`Failure::new`]: tracer::execution::Failure::new

mod attempt;
mod batch;
mod bounded;
mod claims;
mod handler;
mod held;
mod patient;
mod run;
mod running;
mod schedule;
mod settle;
mod signal;
mod take;
mod turns;
mod worker;

pub use attempt::Attempt;
pub use running::{Left, Running};
pub use schedule::{InvalidSchedule, Schedule};
pub use worker::Worker;
