//! What becomes of black boxes when the process is forked.
//!
//! The memory is shared with the file, so after a fork two processes would write into one. Before anything else runs in
//! the child, its boxes are laid over with memory of its own: the open frames are there again, the pages are empty and
//! closed, and the first thing that it records gives it a file ([`Shared::attach`]). A child that only goes on to execute
//! another program, as most do, leaves no file.

#![expect(unsafe_code, reason = "asks to be called when the process is forked")]

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracer::recorder::block::BLOCK_BYTES;
use tracer::recorder::{LocksHeld, hold_locks, number_frames_apart, reseed_ids};

use crate::aside::{self, UnderWay};
use crate::dictionary;
use crate::machine;
use crate::map::Map;
use crate::panics;
use crate::pool::Holder;
use crate::shared::{Backing, Shared, State, soon, this_thread};
use crate::status::Word;
use crate::tell::tell;

static BOXES: Mutex<Vec<&'static Shared>> = Mutex::new(Vec::new());

const BLOCK_WORDS: usize = BLOCK_BYTES / 8;
/// The word of a block's head that says which thread was in its line last.
const HOLDER: usize = 10;
/// The one that says that it is of a thread which this process does not have.
const FOREIGN: usize = 15;

/// What is kept while the process is forked: every lock, so that none is held by a thread that the child does not have;
/// and the blocks, which the parent goes on writing to.
struct Kept {
    /// The parent, which may be gone when the child asks.
    pid: u32,
    boxes: Vec<KeptBox>,
    list: MutexGuard<'static, Vec<&'static Shared>>,
    panics: MutexGuard<'static, u64>,
    _locks: LocksHeld,
    _aside: MutexGuard<'static, UnderWay>,
}

struct KeptBox {
    shared: &'static Shared,
    state: MutexGuard<'static, State>,
    ticks: u64,
    _dictionary: MutexGuard<'static, dictionary::Writer>,
    blocks: Vec<(usize, [u64; BLOCK_WORDS])>,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

fn boxes() -> MutexGuard<'static, Vec<&'static Shared>> {
    BOXES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The boxes that somebody has, unless others look at them for long: for ends and panic hooks, which must not wait.
pub(crate) fn boxes_soon() -> Vec<&'static Shared> {
    soon(&BOXES).map(|boxes| boxes.clone()).unwrap_or_default()
}

pub(crate) fn watch(shared: &'static Shared) {
    static ONCE: Once = Once::new();
    // SAFETY: the three functions have the type that is asked for and live as long as the program.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(prepare), Some(parent), Some(child));
    });
    boxes().push(shared);
}

pub(crate) fn forget(shared: &'static Shared) {
    boxes().retain(|one| !std::ptr::eq(*one, shared));
}

extern "C" fn prepare() {
    let locks = hold_locks();
    let panics = panics::hold();
    let list = boxes();
    let boxes = list.iter().map(|shared| {
        let dictionary = shared.dictionary();
        let mut state = shared.state();
        state.prepare(shared.map);
        let blocks = state.blocks.used().map(|block| (block, read_block(shared.map, block))).collect();
        KeptBox { shared, state, ticks: shared.ticks(), _dictionary: dictionary, blocks }
    });
    let boxes = boxes.collect();
    // Last: who begins something aside may have any of the others.
    let aside = aside::hold();
    let kept = Kept { pid: std::process::id(), boxes, list, panics, _locks: locks, _aside: aside };
    // A thread that is being torn down has no place to keep it; then the locks are free again, at the usual risk.
    let _kept = KEPT.try_with(|place| place.replace(Some(kept)));
}

fn take() -> Option<Kept> {
    KEPT.try_with(RefCell::take).ok().flatten()
}

extern "C" fn parent() {
    drop(take());
}

extern "C" fn child() {
    reseed_ids([machine::random(), machine::random()]);
    number_frames_apart(machine::random());
    let Some(mut kept) = take() else { return };
    // Its parent's are none of its own, unless it was forked in the midst of one.
    if !std::thread::panicking() {
        panics::forget(&mut kept.panics);
    }
    let pid = kept.pid;
    for one in &mut kept.boxes {
        if !one.become_child(pid) {
            kept.list.retain(|shared| !std::ptr::eq(*shared, one.shared));
        }
    }
}

impl KeptBox {
    /// `false`: it cannot, and stays its parent's.
    fn become_child(&mut self, parent_pid: u32) -> bool {
        let Self { shared, state, ticks, blocks, .. } = self;
        let parent_salt = shared.salt();
        let parent = match state.backing {
            Backing::Nothing(ref why) => Backing::Forked { parent_pid, parent_salt, nothing: Some(why.clone()) },
            Backing::File(_) => Backing::Forked { parent_pid, parent_salt, nothing: None },
            ref forked @ Backing::Forked { .. } => forked.clone(),
        };
        // Those of other threads stay among them: nobody knows which these are.
        let outside = shared.status.get(Word::LinesOutside);
        if let Err(error) = shared.map.replace_by_zeroes() {
            // Traced functions put nothing more into what is still the file of the parent, nor does the end of this process.
            tracer::set_enabled(false);
            if !shared.options.quiet {
                tell(format_args!("this forked process cannot have memory of its own, and records no calls: {error}"));
            }
            return false;
        }
        let salt = machine::random();
        shared.set_salt(salt);
        shared.forget_truncation();
        shared.note_fork(*ticks);
        shared.status.set(Word::LinesOutside, outside);
        let survivor = this_thread();
        for (block, words) in blocks {
            // Frames of other threads stay as they are for the code that works on them, but readers do not show them:
            // nobody in the child will end them.
            words[FOREIGN] |= u64::from(Holder(words[HOLDER]) != survivor);
            for (word, value) in block_words(shared.map, *block).iter().zip(&*words) {
                word.store(*value, Ordering::Relaxed);
            }
        }
        for page in state.fork(shared.map, salt, survivor, parent) {
            // So that the next entry asks for a page, with the new salt.
            shared.map.pages()[page].close();
        }
        true
    }
}

fn block_words(map: Map, block: usize) -> &'static [std::sync::atomic::AtomicU64] {
    map.words(map.layout().blocks_at() + block * BLOCK_BYTES, BLOCK_WORDS)
}

fn read_block(map: Map, block: usize) -> [u64; BLOCK_WORDS] {
    let words = block_words(map, block);
    std::array::from_fn(|word| words[word].load(Ordering::Relaxed))
}
