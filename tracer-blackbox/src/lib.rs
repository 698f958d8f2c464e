//! A flight recorder for [`tracer`]: what was running, with which values, when the process was killed.
//!
//! A [`BlackBox`] is a recorder whose memory is a mapped file. What a traced call has written is in the file when the
//! call returns, at the price of writing to memory: no system call, no lock. If the process is killed (`SIGKILL`, a
//! crash, no memory left, an exceeded deadline), the file has it all, and [`recover`] reads it.
//!
//! ```no_run
//! use tracer::{Tracer, traced_node};
//! use tracer_blackbox::{BlackBox, Observed, recover_with};
//!
//! #[traced_node(record)]
//! fn charge(order: u64) -> bool {
//!     order % 2 == 0
//! }
//!
//! Tracer::builder().recorder(BlackBox::open(".tracer")?).install();
//! charge(17);
//!
//! // Later, in another process:
//! # let path = "";
//! let recovered = recover_with(std::fs::read(path)?, &Observed::here())?;
//! println!("{}, {}", recovered.death, recovered.confidence);
//! for node in &recovered.open {
//!     println!("{} was running with {}", node.node, node.arguments);
//!     // What led there.
//!     for record in recovered.trace(node.trace_id) {
//!         println!("{record:?}");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//!
//! - What a traced call has recorded when it returns survives the death of the process, however it dies.
//! - It survives the loss of power as far as [`Sync`] says.
//! - Files are bounded. When one is full, the oldest entries go; what is *open* is known all the same.
//! - Trouble never reaches the traced program: without a file, the box is in memory, says so once, and counts.
//!
//! The format is described in `docs/format.md`.

#[cfg(not(target_os = "linux"))]
compile_error!("tracer-blackbox knows Linux only");
#[cfg(target_endian = "big")]
compile_error!("tracer-blackbox writes words as they are, little-endian");

mod aside;
mod blackbox;
mod clock;
mod dictionary;
mod directory;
mod exit;
mod file;
mod fork;
mod format;
mod index;
mod init;
mod lane;
mod live;
mod machine;
mod map;
mod options;
mod panics;
mod place;
mod pool;
mod power;
mod reader;
mod shared;
mod signals;
mod status;
mod tell;
mod vigil;

pub use blackbox::{BlackBox, OpenError};
pub use directory::{
    FoundFile, Progress, ReadError, acknowledge, delete_read, files_in, read_file, read_open, recover_dir, recover_file,
};
pub use init::{Init, default_directory, init};
pub use live::Heads;
pub use options::{Options, Sync};
pub use reader::{
    Confidence, Death, Gap, Observed, OpenNode, Outlines, PagesSeen, Process, Records, RecoverError, Recovered,
    TraceSummary, recover, recover_watched, recover_with,
};
