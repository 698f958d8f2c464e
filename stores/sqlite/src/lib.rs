//! Executions in an SQLite file: they survive the process, and several processes on one machine share them.
//!
//! ```
//! # async fn example(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! use tracer::execution::{ExecutionManager, NewExecution};
//! use tracer_sqlite::SqliteStore;
//!
//! let store = SqliteStore::open(directory.join("executions.db"))?;
//! let manager = ExecutionManager::new(store);
//! let execution = manager.create(NewExecution::new("import")).await?;
//! # Ok(()) }
//! ```
//!
//! # What survives what
//!
//! A write that was answered survives the death of the process, `kill -9` included. With
//! [`Options::survives`]`(`[`Survives::PowerLoss`](tracer::execution::Survives::PowerLoss)`)` each commit also waits for
//! the disk; that is slower by what the disk takes.
//!
//! # How it works
//!
//! One thread writes, and takes all writes that have come in meanwhile into one transaction: many small calls cost about
//! as much as one large one. Another thread reads. Neither needs an async runtime, and no call blocks its caller's
//! thread. A claim or a sweep for which there is nothing to do only reads. Other processes wait for each other at most
//! 10 s a transaction; then the answer is a `STORE` error that may be repeated, and nothing was written.
//!
//! A worker begins at once what the same store, or a clone of it, has created or given back. What other processes have, and
//! what was committed in a transaction of one's own, it finds when it asks, four times a second.
//!
//! Time is the machine's, which is one for all who share the file, and never falls: the file remembers the latest instant
//! at which something was written. If somebody sets the machine's clock ahead, leases are over that much earlier; if back,
//! the time of the file stands still until the clock has caught up, and nothing that waits for a time begins meanwhile. After a
//! write under a clock that was far ahead, that may be long: with nobody at the file, `UPDATE clock SET latest_ms = 0` has it
//! go by the machine again.

mod due;
mod lane;
mod old;
mod row;
mod schema;
mod store;
mod trouble;

pub use store::{Options, SqliteStore};
