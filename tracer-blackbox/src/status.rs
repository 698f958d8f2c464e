//! The status words, and the two notes: what the process says of itself as it goes, and as it goes down.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::{
    DEATH_AT, EVENTS_PATH_MAX, EVENTS_PATH_WORD, PANIC_AT, PANIC_TEXT_MAX, STATUS_AT, STATUS_WORDS, cut, mix,
    mix_words, u64_at,
};
use crate::machine;
use crate::map::Map;
use crate::shared::within_patience;
use crate::signals;

/// The words of the status, by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    State = 0,
    Exit = 1,
    DeadlineMs = 2,
    MemoryUsed = 3,
    MemoryLimit = 4,
    MemoryReadNs = 5,
    KillsAtFirst = 6,
    KillsLast = 7,
    Dropped = 8,
    BlocksMissing = 9,
    BlocksGiven = 10,
    SitesMissing = 11,
    SyncKind = 12,
    SyncEveryMs = 13,
    SyncedNs = 14,
    AliveNs = 15,
    ForgottenBirth = 16,
    PagesGiven = 17,
    Counter = 18,
    EventsInode = 19,
    EventsPathLen = 20,
    RawTicks = 21,
    RawNs = 22,
    /// See [`Lock`].
    Lock = 23,
    /// 1 + the lines of calls that have no block now.
    LinesOutside = 24,
    /// When the process was forked.
    ForkedTicks = 25,
}

pub(crate) const RUNNING: u64 = 1;
pub(crate) const ENDED: u64 = 2;
/// What a program returns to the system whose main has panicked.
pub(crate) const PANICKED: u32 = 101;

/// The status of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status(&'static [AtomicU64]);

impl Status {
    pub(crate) fn of(map: Map) -> Self {
        Self(map.words(STATUS_AT, STATUS_WORDS))
    }

    pub(crate) fn set(self, word: Word, value: u64) {
        self.0[word as usize].store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(self, word: Word, more: u64) {
        self.0[word as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// One less, but never less than one.
    pub(crate) fn less(self, word: Word) {
        let less = |count: u64| count.checked_sub(1).filter(|count| *count > 0);
        // A forked child may end what it has not counted.
        let _less_or_not = self.0[word as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(crate) fn get(self, word: Word) -> u64 {
        self.0[word as usize].load(Ordering::Relaxed)
    }

    /// Says where the system counts who was killed for want of memory: a dead process cannot look there any more. A
    /// path that is too long is not said.
    pub(crate) fn set_memory_events(self, path: &str, inode: u64) {
        if path.len() <= EVENTS_PATH_MAX {
            store_text(&self.0[EVENTS_PATH_WORD..], path);
            self.set(Word::EventsInode, inode);
            self.set(Word::EventsPathLen, path.len() as u64);
        }
    }
}

fn store_text(words: &[AtomicU64], text: &str) {
    for (word, chunk) in words.iter().zip(text.as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// The status in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusRead<'a>(pub(crate) &'a [u8]);

impl StatusRead<'_> {
    pub(crate) fn get(self, word: Word) -> u64 {
        u64_at(self.0, STATUS_AT + word as usize * 8)
    }

    /// The path of what [`Status::set_memory_events`] said, and its number.
    pub(crate) fn memory_events(&self) -> Option<(&str, u64)> {
        let len = usize::try_from(self.get(Word::EventsPathLen)).ok().filter(|len| *len <= EVENTS_PATH_MAX)?;
        let path = self.0.get(STATUS_AT + EVENTS_PATH_WORD * 8..)?.get(..len)?;
        Some((std::str::from_utf8(path).ok()?, self.get(Word::EventsInode)))
    }
}

/// Whether the process of a file lives, by the lock that it holds on it while it does: where its number says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// In what was read of the file: nobody had it any more.
    Free = 2,
    /// Likewise: somebody had it.
    Held = 3,
}

impl Lock {
    /// What the process says that has it, of the file with this inode: a copy of the file has no lock.
    pub(crate) const fn taken(inode: u64) -> u64 {
        (inode << 2) | 1
    }
}

/// In a copy of a file: whether its lock was held.
pub(crate) fn set_lock(bytes: &mut [u8], lock: Lock) {
    set_word(bytes, Word::Lock, lock as u64);
}

/// In a copy of a copy: nobody knows.
pub(crate) fn forget_lock(bytes: &mut [u8]) {
    set_word(bytes, Word::Lock, 0);
}

/// In a count of kills: it is from after the process was gone.
pub(crate) const KILLS_ASKED: u64 = 1 << 63;

/// In a copy of a file: counts of kills as they are now, and not when the process last looked.
pub(crate) fn set_kills(bytes: &mut [u8], kills: u64) {
    set_word(bytes, Word::KillsLast, (kills + 1) | KILLS_ASKED);
}

fn set_word(bytes: &mut [u8], word: Word, value: u64) {
    let at = STATUS_AT + word as usize * 8;
    if let Some(word) = bytes.get_mut(at..at + 8) {
        word.copy_from_slice(&value.to_le_bytes());
    }
}

const DEATH_WORDS: usize = 7;
/// Which of them say what note it is, and whose.
const NOTE_SIGNAL: usize = 1;
const NOTE_THREAD: usize = 4;

/// The first word of a death note that is being written, and of one that is.
const WRITING: u64 = 2;
const WRITTEN: u64 = 1;

/// Where a signal handler says what killed the process. It loads and stores words, and waits for nobody for long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeathNote {
    words: &'static [AtomicU64],
    salt: u64,
}

/// What a death note says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) signal: u64,
    pub(crate) code: u64,
    pub(crate) address: u64,
    pub(crate) thread: u64,
    pub(crate) unix_ns: u64,
}

impl DeathNote {
    pub(crate) fn of(map: Map, salt: u64) -> Self {
        Self { words: map.words(DEATH_AT, DEATH_WORDS), salt }
    }

    /// Safe to call from a signal handler. The first note stays: what comes after it is its consequence. Whether this is it.
    pub(crate) fn write(self, death: Death) -> bool {
        let begin =
            |before| self.words[0].compare_exchange(before, WRITING, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !(begin(0) || (self.was_survived_by(death) && begin(WRITTEN))) {
            // Whoever is told so may end the process, which then would say nothing.
            let _is_there = within_patience(|| (self.words[0].load(Ordering::Relaxed) != WRITING).then_some(()));
            return false;
        }
        let said = [death.signal, death.code, death.address, death.thread, death.unix_ns];
        for (word, value) in self.words[1..].iter().zip(said) {
            word.store(value, Ordering::Relaxed);
        }
        self.words[6].store(mix_words(&said, self.salt), Ordering::Relaxed);
        self.words[0].store(WRITTEN, Ordering::Release);
        true
    }

    /// Whether the note is of an `abort` that was none, but only its signal: its thread has another now, and not because of it.
    fn was_survived_by(self, death: Death) -> bool {
        let abort = u64::from(libc::SIGABRT.unsigned_abs());
        let is_of_abort = self.words[NOTE_SIGNAL].load(Ordering::Relaxed) == abort && death.signal != abort;
        is_of_abort && self.is_of(death.thread) && !signals::is_handling()
    }

    fn is_of(self, thread: u64) -> bool {
        self.words[0].load(Ordering::Relaxed) == WRITTEN && self.words[NOTE_THREAD].load(Ordering::Relaxed) == thread
    }

    /// The process goes on: there is no note by this thread, which runs.
    pub(crate) fn withdraw(self) {
        if self.words[0].load(Ordering::Relaxed) == WRITTEN && self.is_of(machine::thread()) {
            self.words[0].store(0, Ordering::Release);
        }
    }

    pub(crate) fn read(bytes: &[u8], salt: u64) -> Option<Death> {
        let words: [u64; DEATH_WORDS] = std::array::from_fn(|word| u64_at(bytes, DEATH_AT + word * 8));
        let [complete, signal, code, address, thread, unix_ns, check] = words;
        let valid = complete == WRITTEN && mix_words(&words[1..6], salt) == check;
        valid.then_some(Death { signal, code, address, thread, unix_ns })
    }
}

const PANIC_HEAD_WORDS: usize = 8;

/// What the last panic said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) count: u64,
    pub(crate) thread: u64,
    pub(crate) in_main: bool,
    pub(crate) unix_ns: u64,
    pub(crate) text: String,
}

impl Panic {
    /// Writes it over the one before. One thread at a time.
    pub(crate) fn write(&self, map: Map, salt: u64) {
        let words = map.words(PANIC_AT, PANIC_HEAD_WORDS + PANIC_TEXT_MAX / 8);
        words[0].store(0, Ordering::Release);
        let text = cut(&self.text, PANIC_TEXT_MAX);
        let head = [self.count, self.thread, u64::from(self.in_main), 0, self.unix_ns, text.len() as u64];
        for (word, value) in words[1..].iter().zip(head) {
            word.store(value, Ordering::Relaxed);
        }
        words[7].store(mix(text.as_bytes(), mix_words(&head, salt)), Ordering::Relaxed);
        store_text(&words[PANIC_HEAD_WORDS..], text);
        words[0].store(1, Ordering::Release);
    }

    pub(crate) fn read(bytes: &[u8], salt: u64) -> Option<Self> {
        let words: [u64; PANIC_HEAD_WORDS] = std::array::from_fn(|word| u64_at(bytes, PANIC_AT + word * 8));
        let len = usize::try_from(words[6]).ok().filter(|len| *len <= PANIC_TEXT_MAX)?;
        let text = bytes.get(PANIC_AT + PANIC_HEAD_WORDS * 8..)?.get(..len)?;
        let valid = words[0] == 1 && mix(text, mix_words(&words[1..7], salt)) == words[7];
        valid.then(|| Self {
            count: words[1],
            thread: words[2],
            in_main: words[3] == 1,
            unix_ns: words[5],
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}
