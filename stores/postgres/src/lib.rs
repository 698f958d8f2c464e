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
//! # The hint
//!
//! A worker need not ask again and again: with what makes an execution due at once goes a `NOTIFY`, and a store that
//! somebody waits at has one more connection, which listens. It is no more than a hint. A process says so every 50 ms at
//! most, for commits that do wait for each other; who hears it looks twice. The connection is made anew when it is lost.
//! Workers ask by and by all the same, and that is all that is left where nobody can listen: with [a pool of one's
//! own](PostgresStore::with_pool), behind a pooler that gives connections to transactions.
//!
//! # What survives what
//!
//! What PostgreSQL has committed: the loss of power, unless `synchronous_commit` or `fsync` is off.

mod hint;
mod row;
mod schema;
mod store;
mod trouble;

pub use store::PostgresStore;
