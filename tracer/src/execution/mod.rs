//! Work that outlives the process which runs it: retried, timed out, cancelled, resumed.
//!
//! An [`Execution`] is a unit of work with a status, attempts, progress and checkpoints, kept in a store. The
//! [`ExecutionManager`] takes it through its life; [`ExecutionStatus::next`] is the table of what may follow what.
//!
//! | to | see |
//! |---|---|
//! | create, start, complete, fail, cancel, retry, list | [`ExecutionManager`] |
//! | wait until one has ended | [`ExecutionManager::wait`] |
//! | run many, in several processes | [`ExecutionManager::claim`], [`ExecutionManager::under`], [`ExecutionManager::heartbeat`] |
//! | resume behind the last finished node | [`ExecutionManager::run_attempt`], `checkpoint` of [`#[traced_node]`](macro@crate::traced_node) |
//! | find out what has failed for good, and try again | [`ListOptions::dead_letters`], [`ExecutionManager::redrive`] |
//! | find the trace of an attempt, and the attempt of a trace | [`Execution::history`], [`Lease::trace_id`], [`AttemptOf::of`] |
//! | have what ended long ago deleted | [`ExecutionManager::prune`], [`Retention`] |
//! | run one that a queue handed over, without background tasks | [`ExecutionManager::claim_by_id`], [`ExecutionManager::tick`] |
//! | choose the store when the program runs | [`DynStore`] |
//! | keep them in something of one's own | [`SimpleStore`], six methods; [`ExecutionStore`], whole |
//!
//! The rules are pure functions ([`Write::apply`], [`Execution::sweep`], [`Execution::renew`]), which every store applies
//! inside what makes it atomic there. Time is the store's. Nothing here starts a thread or a task.

mod body;
mod command;
mod dynamic;
mod error;
mod failure;
mod history;
mod list;
mod manager;
mod memory;
mod new;
mod parts;
mod progress;
mod record;
pub(crate) mod resume;
mod retention;
mod retry;
mod simple;
mod status;
mod store;
mod timestamp;
mod wait;
mod worker;

pub use command::{Applied, Beat, Command, Expected, Write};
pub use dynamic::DynStore;
pub use error::{CODES, ExecutionError, ExecutionErrorKind, InvalidInput, Refusal, StoreError, Trouble, Written};
pub use failure::Failure;
pub use history::{AttemptEnd, AttemptRecord, HISTORY_LEN_MAX};
pub use list::{Cursor, ListOptions, Listed, Page};
pub use manager::{ExecutionManager, Expecting};
pub use memory::MemoryStore;
pub use new::{Create, NAME_LEN_BYTES_MAX, NewExecution, VALUE_DEPTH_MAX, check_name};
pub use parts::{Parts, PartsError};
pub use progress::{Progress, ProgressError};
pub use record::{AttemptOf, Execution, Lease, LeaseTerms};
pub(crate) use resume::Attempt;
pub use resume::{Keep, run_attempt};
pub use retention::{Deleted, Pruned, Retention};
pub use retry::RetryPolicy;
pub use simple::{Simple, SimpleStore};
pub use status::{Event, ExecutionStatus, ParseStatusError};
pub use store::{Capabilities, Claim, Created, ExecutionStore, Survives, Swept};
pub use timestamp::{ParseTimestampError, Timestamp};
pub use worker::WorkerName;

pub use crate::id::ExecutionId;
