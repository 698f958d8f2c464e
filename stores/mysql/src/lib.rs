//! Executions in MySQL or MariaDB: for workers on many machines.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tracer::execution::{ExecutionManager, NewExecution};
//! use tracer_mysql::MysqlStore;
//!
//! let store = MysqlStore::connect(mysql_async::Opts::from_url("mysql://app@localhost/app")?).await?;
//! let manager = ExecutionManager::new(store);
//! let execution = manager.create(NewExecution::new("import")).await?;
//! # Ok(()) }
//! ```
//!
//! Needs MySQL 8.0, or MariaDB 10.6. The tests run on MariaDB 10.11; they have passed on MySQL 9.7.
//!
//! # How it works
//!
//! Every call that writes is one transaction, at READ COMMITTED: it locks the rows, in the order of their ids, applies the
//! rules, and writes all of them with few statements. Claims and sweeps skip rows that others have locked. The time is the
//! server's. A call that is not answered within [`PATIENCE`] fails, and its connection is given up.
//!
//! The tables are made in the connection's database, by migrations under a named lock, so that any number of processes may
//! begin at once.
//!
//! # What survives what
//!
//! What InnoDB has committed: the loss of power with `innodb_flush_log_at_trx_commit = 1`, which is asked for when
//! connecting and told by [`Capabilities::survives`](tracer::execution::Capabilities::survives); else the death of the
//! server's process. A failover to a replica that replicates asynchronously loses what had not reached it.
//!
//! # How large values may be
//!
//! A quarter of the server's `max_allowed_packet`, so that all that one execution has can be read at once.

mod line;
mod old;
mod own;
mod row;
mod schema;
mod store;
mod trouble;

pub use line::PATIENCE;
pub use store::MysqlStore;
