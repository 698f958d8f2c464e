//! Executions in Redis: quick, for workers on many machines.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tracer::execution::{ExecutionManager, NewExecution};
//! use tracer_redis::RedisStore;
//!
//! let store = RedisStore::connect(redis::Client::open("redis://localhost")?, "jobs").await?;
//! let manager = ExecutionManager::new(store);
//! let execution = manager.create(NewExecution::new("import")).await?;
//! # Ok(()) }
//! ```
//!
//! Needs Redis 7, or Valkey.
//!
//! # How it works
//!
//! Every call is a script, or a few: Redis runs each as a whole. Creations and claims are one. A change is read, made by the
//! rules, and written if nobody else has written in between; if somebody has, only that one is read and changed again. What
//! was claimed here is remembered, and need not be read. No call holds the server up for more than some hundred executions
//! or some megabytes, more become several; but for a claim of all types, which looks at the first of each. The time is the
//! server's.
//!
//! An execution is one text. What of it is longer than 4 KiB has a key of its own. Its checkpoints are the fields of a hash, so
//! that one more costs the same however many there are.
//!
//! A worker that waits hears of what becomes due by a message (`PUBLISH`), which a process sends every 50 ms at most, and each
//! has a connection for that. It is a hint: workers ask by and by, too, and do nothing else where a user may not use the
//! channel `tracer:{namespace}:due`.
//!
//! A namespace of version 2 becomes one of version 3 when it is opened. Programs that still use it as the former fail from
//! then on, before they write anything. Older ones are refused.
//!
//! All keys of a namespace have the hash tag `{namespace}`, so that a cluster keeps them on one node; several namespaces
//! may be on several.
//!
//! # What survives what
//!
//! What Redis keeps, and that is a matter of its settings. With `appendonly yes` and `appendfsync always`, the loss of
//! power, and [`Capabilities::survives`](tracer::execution::Capabilities::survives) says so if the server tells. With
//! `appendfsync everysec`, up to about a second of acknowledged writes is lost with the server's power, with snapshots
//! alone all since the last one. Whatever the settings, a failover to a replica loses what had not reached it yet: then an
//! execution may be as it was before, be claimed again under an epoch that was given already, and run twice. Use
//! another store where that must not be.
//!
//! A server that throws keys away when memory is short (`maxmemory-policy allkeys-…`) is refused, if it tells. One whose
//! memory is full takes nothing new in; what it has is read, worked off and deleted all the same, for which it takes
//! more than `maxmemory`: as much as results and checkpoints are large.

mod claimed;
mod hint;
mod line;
mod record;
mod row;
mod script;
mod store;
mod trouble;

pub use line::Reconnecting;
pub use store::{RedisStore, VALUE_LEN_BYTES_MAX};
