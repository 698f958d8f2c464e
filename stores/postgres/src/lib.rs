//! Executions in PostgreSQL: for workers on many machines.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tracer::execution::{ExecutionManager, NewExecution};
//! use tracer_postgres::PostgresStore;
//!
//! let config = "host=localhost user=app dbname=app".parse()?;
//! let store = PostgresStore::connect(config, tokio_postgres::NoTls).await?;
//! let manager = ExecutionManager::new(store);
//! let execution = manager.create(NewExecution::new("import")).await?;
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! Every call that writes is one transaction: it locks the rows, in the order of their ids, applies the rules, and writes
//! all of them with one statement. Claims and sweeps skip rows that others have locked. The time is the server's.
//!
//! Its tables are made in the first schema of the connection's `search_path`, by migrations that take a lock of their
//! own, so that any number of processes may begin at once.
//!
//! # What survives what
//!
//! What PostgreSQL has committed: the loss of power, unless `synchronous_commit` or `fsync` is off.

mod row;
mod schema;
mod store;
mod trouble;

pub use store::PostgresStore;
