//! Executions in DynamoDB: no server of one's own.
//!
//! ```no_run
//! # async fn example(config: aws_sdk_dynamodb::Config) -> Result<(), Box<dyn std::error::Error>> {
//! use tracer::execution::{ExecutionManager, NewExecution};
//! use tracer_dynamodb::DynamoStore;
//!
//! let client = aws_sdk_dynamodb::Client::from_conf(config);
//! let store = DynamoStore::open(client, "executions").await?;
//! let manager = ExecutionManager::new(store);
//! let execution = manager.create(NewExecution::new("import")).await?;
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! An execution is an item, an idempotency key another one; both are created and deleted in one transaction. A change is read
//! consistently, made by the rules, and written under the condition that nobody else has written in between; if somebody has,
//! the answer to the failed condition has the item as it is, to which the change is made again. Each writing has a mark, so
//! that a request which the client has sent twice is known as one's own. Nothing scans: what waits, what runs and what was
//! created when are found by indexes, which hold nothing else.
//!
//! A checkpoint is an item of a second table, `…-checkpoints`, so that one more costs the same however many there are. It is
//! written in one transaction with the execution, under the same condition. Who reads an execution just while somebody writes
//! it may see a checkpoint that belongs to its next version; who changes or claims it sees what there is.
//!
//! The tables are made if there are none (on demand, the first with four indexes), by any number of processes at once.
//!
//! A table of version 1 becomes one of version 2 when it is opened: end all programs that use it as the former before, since
//! they would not see what is kept from then on. What was kept before stays where it is, and is found.
//!
//! # What is different here
//!
//! - Indexes follow the table after a moment. A claim may miss what was created or became free just now, never takes what
//!   somebody else has; a list may miss what was written just now
//!   ([`Capabilities::consistent_list`](tracer::execution::Capabilities::consistent_list) is `false`).
//! - The time is that with which the service dates its answers, whatever the callers' clocks show. A date says which second
//!   it is: what a caller takes for the time lags behind it by up to a second at first and after hours without an answer, and
//!   by little more than an answer takes once there were some; it is ahead by no more than answers are dated wrong. So a lease may be taken over a second before its holder ceases to believe in it, who can
//!   write nothing any more then: let leases be much longer than a second.
//! - Items have 400 KB at most. Payload, result and metadata of an execution together may fill all but 32 KB of that, which
//!   are kept free for what its attempts add. A checkpoint may fill an item of its own; all of them have no limit.
//! - All that waits of one type, all that runs, and the order of creation are one partition of an index each, which takes
//!   about 1000 writes a second.
//!
//! # What survives what
//!
//! What was acknowledged survives the loss of power: DynamoDB has written it in several places.

mod again;
mod checkpoints;
mod clock;
mod item;
mod store;
mod table;
mod trouble;

pub use store::DynamoStore;
