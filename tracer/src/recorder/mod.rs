//! Where records go: one trait, and the forms in which facts reach it.
//!
//! The traced program hands over one small [`Entry`] a fact, from the thread that made it, into a [`Lane`] of that
//! thread's own. A recorder has no way to fail the program: it keeps what it can and counts what it drops.

mod assemble;
pub mod block;
mod decode;
mod detail;
mod entry;
mod json_lines;
mod memory;
pub mod page;
mod preview;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::clock::{AnyClock, Clock, Ticks};
use crate::id::TraceId;
use crate::record::Record;
use crate::values::Captured;
use block::Block;
use page::Page;

pub use assemble::Assembler;
pub(crate) use decode::OwnSites;
pub use decode::{Decoder, Found, SiteNumbers};
pub use detail::{Field, Fields, put_field};
pub(crate) use detail::{Padded, VALUES_HEAD_LEN, put_root, values_head};
pub use entry::{Detail, Entry};
pub(crate) use entry::{EnvEvent, Event, NoteEvent, NoteKind, StepEvent, Tag};
pub use json_lines::JsonLines;
pub use memory::Memory;
pub use preview::{PREVIEW_AT, PREVIEW_BITS, Preview};

pub use crate::hold::{LocksHeld, hold_locks};
pub use crate::id::{IdHasher, IdMap};
pub use crate::lines::panics::panic_text;
pub use crate::lines::this_thread;
pub use crate::ordinal::number_frames_apart;
pub use crate::random::reseed_ids;
pub use crate::site::{FlowInfo, ProcessSites, SiteInfo, SiteWatch, Sites, watch_sites};

/// Keeps records.
///
/// # Contract
///
/// - Every call returns soon: no waiting for a disk, a socket or another thread's work.
/// - No call panics, and none runs traced code: what a recorder's own code records is dropped and counted.
/// - An entry that was [written](Lane) is kept or counted as dropped.
pub trait Recorder: Send + Sync + 'static {
    /// Called once, when the tracer is built.
    fn start(&self, _times: &Times) {}

    /// A lane for one thread. Called once a thread; dropped with the thread.
    fn lane(&self) -> Box<dyn Lane>;

    /// The records that it still has, of one trace or all, by [`Record::seq`]. Empty if it cannot read back.
    fn records(&self, of: Option<TraceId>, times: &Times) -> Vec<Record>;

    /// Whether it still has this trace. A recorder that cannot read back has them all.
    fn holds(&self, trace: TraceId) -> bool;

    /// The traces that are not over, oldest first. Empty if it cannot read back.
    fn running(&self) -> Vec<TraceId>;

    /// Forgets everything. What is written from now on is kept again.
    fn clear(&self);

    /// Entries lost so far, for want of room or because writing failed.
    fn dropped(&self) -> u64;

    /// Brings out what is still buffered; waits for it.
    fn flush(&self) {}

    /// A block in memory that outlives the process, for a line that begins; `None`: any memory will do.
    fn block(&self) -> Option<&'static Block> {
        None
    }

    /// Likewise, for a line that has more frames than a block: as long as no line that begins has to do without.
    fn further_block(&self) -> Option<&'static Block> {
        None
    }

    /// Takes back what [`block`](Self::block) or [`further_block`](Self::further_block) gave: its line is over.
    fn free(&self, _block: &'static Block) {}

    /// A line begins for which no recorder has a block.
    fn begin_outside(&self) {}

    /// A line is over that [had none](Self::begin_outside).
    fn end_outside(&self) {}
}

/// What one thread writes to.
///
/// A lane that has pages is only asked for the next one: plain entries are written to its page without it.
pub trait Lane: Send {
    /// The page that entries are put into; `None` for a lane that takes them one by one.
    fn page(&self) -> Option<&'static Page> {
        None
    }

    /// Goes on to a page with room: the one before is full.
    fn turn(&mut self) {}

    /// Which of the pieces, that are lost one after the other, the last entry went to: a number that no other piece has.
    /// What a reader has to know of an env is said once more in each. Zero where nothing is lost that way.
    fn piece(&self) -> u64 {
        0
    }

    /// Takes one fact.
    fn write(&mut self, entry: &Entry);

    /// Takes one fact with what does not fit into the entry.
    fn write_with(&mut self, entry: &Entry, detail: Box<Detail>);
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times").finish_non_exhaustive()
    }
}

/// Turns the ticks of entries into times: the clock of the tracer.
#[derive(Clone)]
pub struct Times(pub(crate) AnyClock);

// A clock is read and never written.
impl UnwindSafe for Times {}
impl RefUnwindSafe for Times {}

impl Default for Times {
    /// Those of the machine's clock.
    fn default() -> Self {
        Self(AnyClock::System)
    }
}

impl Times {
    /// Those of a clock.
    pub fn new(clock: impl Clock) -> Self {
        Self(AnyClock::Other(Arc::new(clock)))
    }

    /// The current tick and its Unix time in nanoseconds.
    pub fn now(&self) -> (u64, u64) {
        self.0.now()
    }

    /// Whether the clock is the machine's, which waits for nobody, and not somebody else's.
    pub fn is_of_machine(&self) -> bool {
        matches!(self.0, AnyClock::System)
    }

    /// Whether ticks are those of the machine's counter: the same in every process, until the machine is restarted.
    pub fn is_counter(&self) -> bool {
        matches!(self.0.ticker(), Ticks::Counter)
    }

    /// The Unix time of a tick, in nanoseconds.
    pub fn unix_ns(&self, ticks: u64) -> u64 {
        self.0.unix_ns(ticks)
    }
}
