//! One black box as all its threads see it: the memory, who has which part of it, and the file behind it.
//!
//! The lock here is taken when a thread begins, ends or has filled a page, and when a line of calls begins or ends. Locks
//! are taken in this order: the registries of contexts and the table of sites (both of `tracer`), the dictionary, the state,
//! what is under way aside.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tracer::TraceId;
use tracer::recorder::page::Page;
use tracer::recorder::{ProcessSites, SiteInfo, Sites, Times};

use crate::aside;
use crate::clock::Pairs;
use crate::dictionary;
use crate::directory::make_room_in;
use crate::file::{self, Created};
use crate::format::{
    COPY_AT, DICTIONARY_AT, Layout, PAIR_WORDS, PAIRS, PAIRS_AT, PANIC_ABORTS, Region, SUPERBLOCK_LEN, Superblock,
    VERSION,
};
use crate::index::Index;
use crate::live;
use crate::machine::{self, Identity, MemoryFiles, MemoryUse};
use crate::map::Map;
use crate::options::{Options, Sync};
use crate::pool::{Blocks, Holder, PageNumber, Pages};
use crate::power;
use crate::reader;
use crate::signals;
use crate::status::{DeathNote, ENDED, PANICKED, RUNNING, Status, Word};
use crate::tell::tell;
use crate::vigil::Vigil;

/// Black boxes that got no file.
pub(crate) static DEGRADED: AtomicU64 = AtomicU64::new(0);

/// Lives as long as the process: threads may write to its memory until then.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) map: Map,
    /// Another one in a forked child.
    salt: AtomicU64,
    pub(crate) status: Status,
    pub(crate) options: Options,
    directory: PathBuf,
    times: OnceLock<Times>,
    pub(crate) vigil: Vigil,
    state: Mutex<State>,
    dictionary: Mutex<dictionary::Writer>,
    /// Nobody has it any more.
    closed: AtomicBool,
    /// Pages from here on were never given to anybody: touching them would cost memory and time.
    pages_used: AtomicUsize,
    /// Why the file may not have its bytes for ever.
    pub(crate) doubt: Option<String>,
    /// Somebody has taken bytes of the file away; what was there is memory now.
    pub(crate) is_truncated: AtomicBool,
    /// Of the file of a process that this one was forked from.
    was_truncated: AtomicBool,
    /// This process was forked and has nothing of its own yet: what is in the [state](Backing::Forked), without its lock.
    is_forked: AtomicBool,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) pages: Pages,
    pub(crate) blocks: Blocks,
    births: u64,
    /// By page: whether some of it has no check yet.
    unsealed: Vec<bool>,
    overflow: Option<Held>,
    pairs: Pairs,
    memory: Option<MemoryFiles>,
    memory_read_ns: u64,
    index: Index,
    pub(crate) backing: Backing,
}

/// What is behind the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backing {
    File(PathBuf),
    /// No file could be made, and why.
    Nothing(String),
    /// This process was forked and has recorded nothing yet.
    Forked {
        parent_pid: u32,
        parent_salt: u64,
        /// Why its parent had no file: then it makes none, either.
        nothing: Option<String>,
    },
}

/// A page in the hands of a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    number: PageNumber,
    pub(crate) page: &'static Page,
}

pub(crate) fn this_thread() -> Holder {
    Holder(tracer::recorder::this_thread())
}

impl Shared {
    /// With a file in `directory`, or without.
    pub(crate) fn new(directory: PathBuf, options: Options, layout: Layout) -> std::io::Result<Self> {
        let salt = machine::random();
        let identity = Identity::of_this_process();
        let created = file::create(&directory, &options.app_name(), identity, layout.file_len(), options.anywhere);
        let (mut doubt, mut lock) = (None, 0);
        let made = created.and_then(|created| match Map::file(&created.file, layout) {
            Ok(map) => {
                lock = created.lock();
                doubt = created.doubt;
                Ok((map, Backing::File(created.path)))
            }
            Err(error) => {
                let _gone_or_not = std::fs::remove_file(&created.path);
                Err(error)
            }
        });
        let (map, backing) = match made {
            Ok(made) => made,
            Err(error) => (Map::anonymous(layout)?, Backing::Nothing(format!("{}: {error}", directory.display()))),
        };
        let shared = Self {
            map,
            salt: AtomicU64::new(salt),
            status: Status::of(map),
            options,
            directory,
            times: OnceLock::new(),
            vigil: Vigil::default(),
            state: Mutex::new(State::new(map, salt, backing)),
            dictionary: Mutex::new(dictionary_of(map, salt)),
            closed: AtomicBool::new(false),
            pages_used: AtomicUsize::new(0),
            doubt,
            is_truncated: AtomicBool::new(false),
            was_truncated: AtomicBool::new(false),
            is_forked: AtomicBool::new(false),
        };
        shared.begin(identity, 0, 0);
        shared.status.set(Word::Lock, lock);
        Ok(shared)
    }

    pub(crate) fn salt(&self) -> u64 {
        self.salt.load(Ordering::Relaxed)
    }

    /// The tick now; 0 if nothing is recorded yet.
    pub(crate) fn ticks(&self) -> u64 {
        self.times.get().map_or(0, |times| times.now().0)
    }

    /// In a child that was forked shortly after the tick `before`. A clock of somebody else's may wait for a thread that it
    /// does not have.
    pub(crate) fn note_fork(&self, before: u64) {
        let waits_for_nobody = self.times.get().is_some_and(Times::is_of_machine);
        self.status.set(Word::ForkedTicks, if waits_for_nobody { self.ticks() } else { before });
        self.is_forked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_salt(&self, salt: u64) {
        self.salt.store(salt, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dictionary(&self) -> MutexGuard<'_, dictionary::Writer> {
        self.dictionary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before anything is recorded.
    pub(crate) fn start(&self, times: &Times) {
        if self.times.set(times.clone()).is_ok() {
            self.say_how_it_counts(times);
            self.state().pairs.note(times);
        }
    }

    fn say_how_it_counts(&self, times: &Times) {
        self.status.set(Word::Counter, u64::from(times.is_counter()));
        if let Some((ticks, raw_ns)) = machine::raw_pair().filter(|_| times.is_counter()) {
            self.status.set(Word::RawNs, raw_ns);
            self.status.set(Word::RawTicks, ticks);
        }
    }

    pub(crate) fn unix_ns(&self) -> u64 {
        self.times.get().cloned().unwrap_or_default().now().1
    }

    /// Pairs the tick with the time once more, if nobody is at the state for long: for ends, which must not wait.
    pub(crate) fn note_time(&self) {
        if let (Some(times), Some(mut state)) = (self.times.get(), soon(&self.state)) {
            state.pairs.note(times);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Says that the process ends in order, and how if that is known.
    pub(crate) fn end(&self, status: Option<u32>) {
        self.note_time();
        self.seal_now();
        self.status.set(Word::Exit, status.map_or(0, |status| u64::from(status) + 1));
        self.status.set(Word::State, ENDED);
        self.sync_last();
    }

    /// Says that it ends as a panic of its main has it, which is no order.
    pub(crate) fn end_by_panic(&self) {
        self.note_time();
        self.seal_now();
        self.status.set(Word::Exit, u64::from(PANICKED) + 1);
        self.sync_last();
    }

    /// What came since the last time, if its level brings it to the disk: soon nobody will.
    fn sync_last(&self) {
        if matches!(self.options.sync, Sync::Power { .. }) {
            let _shown = power::bring(self);
        }
    }

    /// Nobody has it any more.
    pub(crate) fn close(&self) {
        self.end(None);
        self.closed.store(true, Ordering::Relaxed);
        self.vigil.wake();
    }

    pub(crate) fn describe(&self, number: u32, site: &SiteInfo<'_>) {
        if !self.dictionary().site(number, site) {
            self.status.add(Word::SitesMissing, 1);
        }
    }

    /// Writes what a reader starts from.
    fn begin(&self, identity: Identity, parent_pid: u32, parent_salt: u64) {
        let status = self.status;
        status.set(Word::AliveNs, self.unix_ns());
        // In a forked child it was taken over.
        status.set(Word::LinesOutside, status.get(Word::LinesOutside).max(1));
        let (kind, every) = match self.options.sync {
            Sync::Kill => (0, 0),
            Sync::Power { every } => (1, u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
            Sync::SyncOnError => (2, 0),
        };
        status.set(Word::SyncKind, kind);
        status.set(Word::SyncEveryMs, every);
        status.set(Word::State, RUNNING);
        let bytes = self.superblock(identity, parent_pid, parent_salt).to_bytes();
        for at in [COPY_AT, 0] {
            let words = self.map.words(at, SUPERBLOCK_LEN / 8);
            for (word, chunk) in words.iter().zip(bytes.chunks_exact(8)) {
                let mut eight = [0; 8];
                eight.copy_from_slice(chunk);
                // Release: the last of them, the check, is stored after the others.
                word.store(u64::from_le_bytes(eight), Ordering::Release);
            }
        }
    }

    fn superblock(&self, identity: Identity, parent_pid: u32, parent_salt: u64) -> Superblock {
        let layout = self.map.layout();
        let Identity { boot_id, pid, start_time } = identity;
        Superblock {
            version: VERSION,
            flags: if cfg!(panic = "abort") { PANIC_ABORTS } else { 0 },
            file_len: layout.file_len() as u64,
            salt: self.salt(),
            boot_id,
            pid,
            parent_pid,
            start_time,
            created_unix_ns: self.unix_ns(),
            parent_salt,
            dictionary: Region::new(DICTIONARY_AT, layout.dictionary_len),
            blocks: Region::new(layout.blocks_at(), layout.pages_at() - layout.blocks_at()),
            pages: Region::new(layout.pages_at(), layout.file_len() - layout.pages_at()),
            pid_namespace: machine::pid_namespace(),
            app: self.options.app_name(),
            app_version: self.options.app_version.clone(),
        }
    }

    /// A page for the calling thread: the next after `full`, or its first. `None`: there is none, see
    /// [`overflow`](Self::overflow).
    pub(crate) fn turn(&'static self, full: Option<Held>) -> Option<Held> {
        self.attach();
        self.goes_on();
        let mut state = self.state();
        if let Some(full) = full {
            self.seal(&mut state, full);
        }
        self.look_around(&mut state);
        let given = state.pages.take(this_thread())?;
        let page = &self.map.pages()[given.page];
        if !given.goes_on {
            self.open_page(&mut state, given.page);
        }
        Some(Held { number: given.page, page })
    }

    /// What this thread may have noted was not its end.
    pub(crate) fn goes_on(&self) {
        if !signals::is_handling() {
            DeathNote::of(self.map, self.salt()).withdraw();
        }
    }

    /// Nothing more comes into the page. Its checks are written, now that it is as it will be.
    fn seal(&self, state: &mut State, held: Held) {
        state.pages.seal(held.number);
        held.page.seal(self.salt());
        held.page.finish();
        state.unsealed[held.number] = false;
    }

    /// Writes the checks of what is complete, so that it can be believed even if the machine goes down.
    pub(crate) fn seal_all(&self) {
        let state = self.state();
        for (page, _) in self.map.pages().iter().zip(&state.unsealed).filter(|(_, unsealed)| **unsealed) {
            page.seal(self.salt());
        }
    }

    /// Likewise, by a handler, which must not wait: of all pages that are not full, if nobody is at the state for long.
    pub(crate) fn seal_now(&self) {
        // A page that begins anew meanwhile would get checks of what was in it before.
        let Some(_state) = soon(&self.state) else { return };
        let used = &self.map.pages()[..self.pages_used.load(Ordering::Relaxed)];
        for page in used.iter().filter(|page| page.birth() != 0 && !page.is_full()) {
            page.seal(self.salt());
        }
    }

    fn open_page(&self, state: &mut State, number: PageNumber) -> &'static Page {
        state.births += 1;
        self.status.set(Word::PagesGiven, state.births);
        state.index.look_at(self.map, number);
        let page = &self.map.pages()[number];
        // One that was never given to anybody is all zeroes. To touch it here would take four pages of the disk at once.
        if number >= self.pages_used.fetch_max(number + 1, Ordering::Relaxed) {
            page.begin(state.births);
        } else {
            page.open(state.births);
        }
        state.unsealed[number] = true;
        page
    }

    /// The calling thread ends, or goes elsewhere.
    pub(crate) fn leave(&self, held: Held) {
        let mut state = self.state();
        if held.page.is_full() {
            self.seal(&mut state, held);
        } else {
            state.pages.leave(held.number);
        }
    }

    /// A number for the life that the page has: no other page of this box or of one that was forked from it has it.
    pub(crate) fn piece(&self, held: Held) -> u64 {
        (self.salt() ^ held.page.birth()).max(1)
    }

    /// Puts something into a page that all threads share that have none; gives that [page](Self::piece). `put` says
    /// whether it fitted.
    pub(crate) fn overflow(&self, put: impl Fn(&Page) -> bool) -> Option<u64> {
        let mut state = self.state();
        for _ in 0..2 {
            if let Some(held) = state.overflow.filter(|held| put(held.page)) {
                return Some(self.piece(held));
            }
            if let Some(full) = state.overflow.take() {
                self.seal(&mut state, full);
            }
            let next = state.pages.take_reserved();
            state.overflow = next.map(|number| Held { number, page: self.open_page(&mut state, number) });
        }
        drop(state);
        self.status.add(Word::Dropped, 1);
        None
    }

    /// What is done now and then, when a page is full.
    fn look_around(&self, state: &mut State) {
        let Some(times) = self.times.get() else { return };
        let Some(now) = state.pairs.note(times) else { return };
        self.status.set(Word::AliveNs, now);
        if state.memory.is_some() && now.saturating_sub(state.memory_read_ns) >= 1_000_000_000 {
            state.memory_read_ns = now;
            self.read_memory(state, now);
        }
    }

    fn read_memory(&self, state: &State, now: u64) {
        if let Some(files) = &state.memory {
            self.note_memory(files.read(), now);
        }
    }

    fn note_memory(&self, read: MemoryUse, now: u64) {
        self.status.set(Word::MemoryUsed, read.used);
        self.status.set(Word::MemoryLimit, read.limit);
        self.status.set(Word::MemoryReadNs, now);
        let kills = read.kills.map_or(0, |kills| kills + 1);
        if self.status.get(Word::KillsAtFirst) == 0 {
            self.status.set(Word::KillsAtFirst, kills);
        }
        self.status.set(Word::KillsLast, kills);
    }

    /// Does by and by what its level asks for, and looks at the memory from now on.
    pub(crate) fn watch(&'static self) {
        self.watch_memory();
        if let Sync::Power { every } = self.options.sync {
            power::start(self, every);
        }
    }

    fn watch_memory(&self) {
        let files = MemoryFiles::find();
        let now = self.unix_ns();
        let mut state = self.state();
        let Some((files, read)) = files else { return };
        self.note_memory(read, now);
        if let Some(inode) = machine::inode(files.events()) {
            self.status.set_memory_events(files.events(), inode);
        }
        // Without a limit there is nothing that could be reached: then it is not looked at again.
        state.memory = Some(files).filter(|_| read.limit > 0);
    }

    /// Forgets what was recorded so far.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.index.forget(self.map);
        for page in self.map.pages() {
            page.forget();
        }
        self.status.set(Word::ForgottenBirth, state.births);
    }

    /// Whether the trace is there, or may have been before somebody has truncated the file.
    pub(crate) fn holds(&self, trace: TraceId) -> bool {
        // No page begins anew while the state is locked.
        let mut state = self.state();
        if state.index.holds(trace, self.map) {
            return true;
        }
        if matches!(state.backing, Backing::File(_)) && self.map.is_emptied() {
            // And made it long again before anybody came there.
            self.is_truncated.store(true, Ordering::Relaxed);
        }
        [&self.is_truncated, &self.was_truncated].iter().any(|is| is.load(Ordering::Relaxed))
    }

    /// In a forked child, whose file is another one.
    pub(crate) fn forget_truncation(&self) {
        if self.is_truncated.swap(false, Ordering::Relaxed) {
            self.was_truncated.store(true, Ordering::Relaxed);
        }
    }

    /// Gives a forked process its own file, with the first thing that it records, and before it has a block; or memory, as
    /// its parent had. Everything is described there, and watched as in its parent.
    ///
    /// The memory goes from being nobody's to being the file's at the same addresses. What another thread of the child
    /// stores into a block in just that moment is lost; it would have to be in a call that began before the fork.
    pub(crate) fn attach(&'static self) {
        if !self.is_forked.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let Backing::Forked { parent_pid, parent_salt, ref mut nothing } = state.backing else { return };
        let inherited = nothing.take();
        let is_told = inherited.is_some();
        let identity = Identity::of_this_process();
        self.begin(identity, parent_pid, parent_salt);
        if let Some(times) = self.times.get() {
            self.say_how_it_counts(times);
        }
        let in_memory = |error: std::io::Error| format!("{}: {error}", self.directory.display());
        let made = inherited.map_or_else(|| self.attach_file(identity).map_err(in_memory), Err);
        state.backing = match &made {
            Ok(created) => {
                self.status.set(Word::Lock, created.lock());
                Backing::File(created.path.clone())
            }
            Err(why) => Backing::Nothing(why.clone()),
        };
        self.is_forked.store(false, Ordering::Relaxed);
        drop(state);
        if let Some(why) = made.err().filter(|_| !is_told) {
            self.tell_degraded(&why);
        }
        self.describe_all();
        self.watch();
        if let Some(bytes_max) = self.options.bytes_max {
            aside::run(move || make_room_in(&self.directory, bytes_max));
        }
    }

    /// Warns that there is no file, and counts it.
    pub(crate) fn tell_degraded(&self, why: &str) {
        DEGRADED.fetch_add(1, Ordering::Relaxed);
        if !self.options.quiet {
            tell(format_args!("no black box on disk, what is recorded dies with this process: {why}"));
        }
    }

    fn attach_file(&self, identity: Identity) -> std::io::Result<Created> {
        use std::os::unix::fs::FileExt;
        let layout = self.map.layout();
        let created = file::create(
            &self.directory,
            &self.options.app_name(),
            identity,
            layout.file_len(),
            self.options.anywhere,
        )?;
        let mut pieces = self.map.pieces_until(layout.pages_at()).chain(self.map.page_heads());
        let copied = pieces
            .try_for_each(|(at, bytes)| created.file.write_all_at(&bytes, at))
            .and_then(|()| self.map.replace_by_file(&created.file));
        if copied.is_err() {
            let _gone_or_not = std::fs::remove_file(&created.path);
        }
        copied.map(|()| created)
    }

    fn describe_all(&self) {
        *self.dictionary() = dictionary_of(self.map, self.salt());
        for number in 1.. {
            let Some(site) = ProcessSites.site(number) else { return };
            self.describe(number, &site);
        }
    }

    /// All bytes as they are now; nothing if there is no beginning.
    pub(crate) fn copy(&self) -> Vec<u8> {
        let beginning = self.map.copy_until(COPY_AT + SUPERBLOCK_LEN);
        let copied = reader::superblock(&beginning).ok().map(|block| {
            let len = self.map.layout().file_len();
            live::copy(&self.map, len, &block, &mut |_| ())
        });
        copied.and_then(Result::ok).unwrap_or_default()
    }
}

/// Longer than most have a lock, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is behind a lock, unless somebody has it for longer than it ever takes: for ends and handlers, which may have
/// interrupted whoever has it.
pub(crate) fn soon<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    within_patience(|| match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    })
}

/// What is there soon, if it is. Also for handlers of signals.
#[expect(clippy::disallowed_methods, reason = "a stopwatch, not a record")]
pub(crate) fn within_patience<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut began = None;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if began.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return None;
        }
        std::thread::yield_now();
    }
}

fn dictionary_of(map: Map, salt: u64) -> dictionary::Writer {
    dictionary::Writer::new(map.words(DICTIONARY_AT, map.layout().dictionary_len / 8), salt)
}

impl State {
    fn new(map: Map, salt: u64, backing: Backing) -> Self {
        let layout = map.layout();
        Self {
            pages: Pages::new(layout.pages),
            blocks: Blocks::new(layout.blocks),
            births: 0,
            unsealed: vec![false; layout.pages],
            overflow: None,
            pairs: Pairs::new(map.words(PAIRS_AT, PAIRS * PAIR_WORDS), salt),
            memory: None,
            memory_read_ns: 0,
            index: Index::new(layout.pages),
            backing,
        }
    }

    /// Before the process is forked: the child does not have what is in the pages.
    pub(crate) fn prepare(&mut self, map: Map) {
        self.index.look(map);
    }

    /// In a forked child: nothing was written yet. Gives the pages that `survivor` holds.
    pub(crate) fn fork(&mut self, map: Map, salt: u64, survivor: Holder, parent: Backing) -> Vec<PageNumber> {
        self.overflow = None;
        self.unsealed.fill(false);
        self.index.fork();
        self.pairs = Pairs::new(map.words(PAIRS_AT, PAIRS * PAIR_WORDS), salt);
        self.backing = parent;
        // The file is a new one: what its pages lived through was in another.
        self.births = 0;
        self.pages.fork(survivor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_but_not_for_ever() {
        let lock = Mutex::new(1);
        let held = lock.lock().unwrap();
        assert!(soon(&lock).is_none(), "by whoever was interrupted: it is never free");
        drop(held);
        assert_eq!(soon(&lock).as_deref(), Some(&1));
    }
}
