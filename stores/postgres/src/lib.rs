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
//! An execution has a row of its own, the record, and for as long as it has not ended a narrow one in the queue. A claim
//! writes to the queue only: what the record is from then on follows from who has claimed it and when, by the rules. So a
//! record is written twice in a plain life, when it is created and when it ends, and what claims and heartbeats write is
//! the same however large records are, and however many have ended.
//!
//! Creations without a key, claims, heartbeats, and the ends of attempts that were claimed here are one statement each.
//! Such an end is written under the condition that nobody has changed the execution since it was claimed, and is not read
//! again. All other writes are a transaction: it locks the rows, in the order of their ids, applies the rules, and writes
//! all of them. Whoever writes to what has not ended has its row in the queue locked. Claims and sweeps skip rows that
//! others have locked. The time is the server's.
//!
//! Connections of its own are told to plan each statement once, and by the indexes; in [a pool of one's
//! own](PostgresStore::with_pool) a claim is planned anew each time, unless its connections say `plan_cache_mode =
//! force_generic_plan`.
//!
//! Its tables are made in the first schema of the connection's `search_path`, by migrations that take a lock of their
//! own, so that any number of processes may begin at once; who waits for it for more than 10 s is told `STORE`, and
//! may try again. Processes of older versions that still run are refused afterwards, with `STORE`. Pages of records
//! are left more than half empty at first, for the ends: that takes twice the room, and saves every index its work.
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

mod claimed;
mod hint;
mod old;
mod own;
mod queue;
mod row;
mod schema;
mod store;
mod transaction;
mod trouble;

pub use own::InTransaction;
pub use store::PostgresStore;
