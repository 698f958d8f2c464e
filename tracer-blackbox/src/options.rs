//! What can be chosen about a black box.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracer::recorder::page::PAGE_BYTES;

use crate::blackbox::{BlackBox, OpenError};
use crate::format::Layout;

/// Makes a [`BlackBox`] that differs from the default one.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `open`"]
pub struct Options {
    pub(crate) bytes: usize,
    pub(crate) blocks: usize,
    pub(crate) dictionary_bytes: usize,
    pub(crate) app: Option<String>,
    pub(crate) app_version: String,
    pub(crate) signals: bool,
    pub(crate) sync: Sync,
    pub(crate) quiet: bool,
    pub(crate) anywhere: bool,
    /// What all files of the directory may take together, if somebody sees to that.
    pub(crate) bytes_max: Option<u64>,
}

/// What is to survive a loss of power. A process that is killed loses nothing with any of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync {
    /// What the system has written out by itself, usually all but the last half minute; and of that, as nothing else has a
    /// check, pages that were full: of a thread that has recorded little, nothing.
    #[default]
    Kill,
    /// What was there `every` so often, and at an end in order: a thread writes it out, and waits for the disk.
    Power {
        /// How much time may be lost, besides what the disk takes; 10 ms at least.
        every: Duration,
    },
    /// All before an error that has a text: whoever returns it waits for the disk. The one case in which a traced call
    /// does wait.
    SyncOnError,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            blocks: 1024,
            dictionary_bytes: 256 << 10,
            app: None,
            app_version: String::new(),
            signals: false,
            sync: Sync::default(),
            quiet: false,
            anywhere: false,
            bytes_max: None,
        }
    }
}

impl Options {
    /// How many bytes of entries and values are kept, 8 MiB unless given: some 130,000 steps. When they are full, the
    /// oldest go. From 128 KiB to 1 GiB.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// How many lines of calls can show what is open in them, whatever was written over since; 1024 unless given. A line
    /// that is deeper than 15 calls takes the place of another for each 15 more, while half of all places are free. More
    /// than those are still recorded, and [counted](crate::Gap::Open). From 1 to 65,536.
    pub fn lines(mut self, lines: usize) -> Self {
        self.blocks = lines;
        self
    }

    /// Room for the names and places of functions, 256 KiB unless given: some 1,500. From 4 KiB to 64 MiB.
    pub fn dictionary_bytes(mut self, bytes: usize) -> Self {
        self.dictionary_bytes = bytes;
        self
    }

    /// The application and its version; the name of the program, and none, unless given.
    pub fn app(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.app = Some(name.into());
        self.app_version = version.into();
        self
    }

    /// Notes `SIGSEGV`, `SIGBUS`, `SIGABRT`, `SIGILL` and `SIGFPE`, then leaves them to whoever handled them before.
    /// Off unless given; [`init`](crate::init()) does it.
    ///
    /// `SIGTERM`, `SIGINT`, `SIGHUP` and `SIGQUIT`, too, where the program has left them to the system: they end it as they
    /// would. Who ignores one, or handles it, before or later, has it as if nothing were noted; but who asks first whether
    /// one has a handler (`ctrlc::try_set_handler`) finds one, and is to ask before the box is opened.
    ///
    /// It is also what keeps the program alive when something truncates the file while it is written: what was mapped
    /// is then memory of this process alone, and [`BlackBox::degraded`] says so. Without it, that is a `SIGBUS`.
    pub fn signals(mut self, note: bool) -> Self {
        self.signals = note;
        self
    }

    /// What is to survive a loss of power.
    pub fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// Says nothing on standard error where there can be no file, or only one that may not last.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Makes a file also where its bytes are not on this machine or another process has them: NFS, SMB, Ceph, AFS, 9p,
    /// FUSE. There, storing into a mapped file may fail long after, with a `SIGBUS`; unless this is set, the box is in
    /// memory instead. On btrfs, ZFS and bcachefs, which may need room again for what is written again, there is a
    /// file, and a warning.
    pub fn anywhere(mut self, anywhere: bool) -> Self {
        self.anywhere = anywhere;
        self
    }

    /// [`BlackBox::open`] with these options.
    ///
    /// # Errors
    ///
    /// As there; and a size that is out of its range.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<BlackBox, OpenError> {
        BlackBox::open_with(directory.as_ref(), self)
    }

    pub(crate) fn layout(&self) -> Result<Layout, OpenError> {
        let within = |option: &'static str, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) { Ok(value) } else { Err(OpenError::Option { option, value, min, max }) }
        };
        Ok(Layout {
            dictionary_len: within("dictionary_bytes", self.dictionary_bytes, 4 << 10, 64 << 20)?.next_multiple_of(8),
            blocks: within("lines", self.blocks, 1, 1 << 16)?,
            pages: within("bytes", self.bytes, 128 << 10, 1 << 30)? / PAGE_BYTES,
        })
    }

    pub(crate) fn app_name(&self) -> String {
        let program = || {
            let path = std::env::args_os().next().map(PathBuf::from)?;
            Some(path.file_stem()?.to_string_lossy().into_owned())
        };
        self.app.clone().or_else(program).unwrap_or_else(|| "app".to_owned())
    }
}
