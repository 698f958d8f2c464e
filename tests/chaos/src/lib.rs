//! Kills workers and stores in the midst of executions, and judges what has become of them.
//!
//! Worker processes ([`work`]) run executions of a store ([`target`](mod@target)) that a server ([`server`]) keeps; what
//! they do and what the store answers them goes into a [`history`]. The [`run`] lets faults happen. The [`judge`] has the
//! history and what is in the store at the end, and nothing else.

pub mod history;
pub mod judge;
pub mod recorded;
pub mod run;
pub mod server;
pub mod target;
pub mod work;
