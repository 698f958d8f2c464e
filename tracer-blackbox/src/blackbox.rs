//! The recorder: what a tracer asks of a black box, and what its owner does.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracer::recorder::block::Block;
use tracer::recorder::{Lane, SiteInfo, SiteWatch, Times, watch_sites};
use tracer::{Record, Recorder, TraceId};

use crate::lane::Writer;
use crate::options::Options;
use crate::reader;
use crate::shared::{Backing, DEGRADED, Shared};
use crate::status::Word;
use crate::tell::tell;
use crate::{exit, fork, panics, power, signals};

/// Records into a file that is there whatever becomes of the process.
///
/// Clones are the same box. When the last is dropped, or the process ends in order, the file says so.
///
/// ```no_run
/// let black_box = tracer_blackbox::BlackBox::open(".tracer")?;
/// tracer::Tracer::builder().recorder(black_box).install();
/// # Ok::<(), tracer_blackbox::OpenError>(())
/// ```
#[derive(Clone)]
pub struct BlackBox(Arc<Owner>);

/// Somebody has it.
struct Owner {
    shared: &'static Shared,
    /// Told of every function, as long as it lives.
    _watch: Arc<Watch>,
}

struct Watch(&'static Shared);

impl SiteWatch for Watch {
    fn site(&self, number: u32, site: &SiteInfo<'_>) {
        self.0.describe(number, site);
    }
}

/// Why there is no black box at all. That there is no *file* is no such reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A size is out of its range.
    #[error("option {option}: expected {min} to {max}, found {value}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// What was asked for.
        value: usize,
        /// The least that is possible.
        min: usize,
        /// The most that is possible.
        max: usize,
    },
    /// There was neither a file nor memory.
    #[error("no memory for a black box")]
    NoMemory(#[source] io::Error),
}

impl BlackBox {
    /// A black box with a file of its own below `directory`, which is made if it is not there.
    ///
    /// Where there can be no file (the disk is full, read-only or [elsewhere](Options::anywhere), a right is missing, …),
    /// the same box is in memory: it can be read while the process lives, and dies with it. That is said once on standard
    /// error, and by [`degraded`](Self::degraded), and [counted](Self::degraded_total). The program goes on as if nothing had been.
    ///
    /// # Errors
    ///
    /// Only if there is not even memory.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(directory)
    }

    /// Sizes and levels that differ from the default ones.
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn open_with(directory: &Path, options: Options) -> Result<Self, OpenError> {
        let layout = options.layout()?;
        // Absolute: the program may go elsewhere, and a child of it may need the place.
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        // Without a slash at the end, with which a link would be followed.
        let directory: PathBuf = directory.components().collect();
        let shared = Shared::new(directory, options, layout).map_err(OpenError::NoMemory)?;
        let shared: &'static Shared = Box::leak(Box::new(shared));
        let watch = Arc::new(Watch(shared));
        watch_sites(Arc::downgrade(&(watch.clone() as Arc<dyn SiteWatch>)));
        shared.watch();
        fork::watch(shared);
        exit::watch();
        panics::watch();
        if shared.options.signals {
            signals::watch(shared);
        }
        let black_box = Self(Arc::new(Owner { shared, _watch: watch }));
        if let Some(why) = black_box.degraded() {
            shared.tell_degraded(&why);
        }
        if let Some(doubt) = shared.doubt.as_ref().filter(|_| !shared.options.quiet) {
            tell(format_args!("this may be no place for a black box: {doubt}"));
        }
        Ok(black_box)
    }

    /// The file; `None` if there is none, or none yet in a process that was forked.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.0.shared.state().backing {
            Backing::File(path) => Some(path.clone()),
            Backing::Nothing(_) | Backing::Forked { .. } => None,
        }
    }

    /// How many black boxes have got no file in this process, or in those that it was forked from: a number to watch, where
    /// nobody reads the standard error.
    pub fn degraded_total() -> u64 {
        DEGRADED.load(Ordering::Relaxed)
    }

    /// Why there is no file, or no whole one: something truncated it, and with [`signals`](Options::signals) the program
    /// goes on in memory.
    pub fn degraded(&self) -> Option<String> {
        let shared = self.0.shared;
        match &shared.state().backing {
            Backing::Nothing(why) | Backing::Forked { nothing: Some(why), .. } => Some(why.clone()),
            Backing::File(path) if shared.is_truncated.load(Ordering::Relaxed) => {
                Some(format!("{} was truncated", path.display()))
            }
            Backing::File(_) | Backing::Forked { nothing: None, .. } => None,
        }
    }

    /// Says when the host will end what runs now, and `None` when it has ended in time. A process that is found dead
    /// after that, and was alive shortly before, was ended by the host. A thread sees to that: it sleeps until then.
    pub fn set_deadline(&self, deadline: Option<SystemTime>) {
        let since = deadline.map_or(Duration::ZERO, |time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
        self.0.shared.status.set(Word::DeadlineMs, u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        match deadline {
            Some(_) => self.0.shared.vigil.keep(self.0.shared),
            None => self.0.shared.vigil.wake(),
        }
    }

    /// Says that the process ends in order. What is recorded afterwards is still there.
    pub fn close(&self) {
        self.0.shared.end(None);
    }

    /// Writes everything out to the disk and waits for it.
    ///
    /// # Errors
    ///
    /// If the disk has one.
    pub fn sync(&self) -> io::Result<()> {
        power::sync(self.0.shared)
    }
}

impl fmt::Debug for BlackBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlackBox").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
        fork::forget(self.shared);
    }
}

impl Recorder for BlackBox {
    fn start(&self, times: &Times) {
        self.0.shared.start(times);
    }

    fn lane(&self) -> Box<dyn Lane> {
        Box::new(Writer::new(self.0.shared))
    }

    fn records(&self, of: Option<TraceId>, times: &Times) -> Vec<Record> {
        reader::records(self.0.shared.copy(), times, of)
    }

    fn holds(&self, trace: TraceId) -> bool {
        self.0.shared.holds(trace)
    }

    fn running(&self) -> Vec<TraceId> {
        reader::active(self.0.shared.copy())
    }

    fn clear(&self) {
        self.0.shared.forget();
    }

    fn dropped(&self) -> u64 {
        self.0.shared.status.get(Word::Dropped)
    }

    fn flush(&self) {}

    fn block(&self) -> Option<&'static Block> {
        let shared = self.0.shared;
        shared.attach();
        shared.goes_on();
        let block = shared.state().blocks.take();
        shared.status.add(if block.is_some() { Word::BlocksGiven } else { Word::BlocksMissing }, 1);
        shared.map.blocks().get(block?)
    }

    fn further_block(&self) -> Option<&'static Block> {
        let shared = self.0.shared;
        shared.attach();
        let block = shared.state().blocks.take_further()?;
        shared.map.blocks().get(block)
    }

    fn begin_outside(&self) {
        self.0.shared.status.add(Word::LinesOutside, 1);
    }

    fn end_outside(&self) {
        self.0.shared.status.less(Word::LinesOutside);
    }

    fn free(&self, block: &'static Block) {
        let shared = self.0.shared;
        if let Some(index) = shared.map.block_index(block) {
            shared.state().blocks.give_back(index);
        }
    }
}
