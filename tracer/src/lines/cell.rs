//! A line as threads share it: a lock that is only ever tried, and a way to leave word for whoever holds it.
//!
//! A thread that runs in a line keeps it locked all that time, so nobody may wait for it. Who comes meanwhile takes
//! an env of its own (the calls) or leaves mail (the ends): the holder reads its mail when it lets go.

use std::sync::{Arc, PoisonError, TryLockError};

use super::key::Calls;
use super::line::{Base, Departure, End, Line, Opened};
use super::trace::Trace;
use crate::flow::Standing;
use crate::id::{EnvId, FrameId};
use crate::record::Cause;
use crate::recorder::block::{self, Block};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use crate::sync::{Mutex, MutexGuard};

/// A line of calls and its lock. Never freed: used again for another line.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    line: Mutex<Line>,
    face: Mutex<Face>,
    has_mail: AtomicBool,
    mail: Mutex<Vec<Mail>>,
    /// Forks made outside of any frame.
    forks: AtomicU64,
    /// Calls made by a frame while another thread held the line.
    visits: AtomicU32,
}

/// What can be known of a line without its lock.
#[derive(Debug, Default)]
struct Face {
    trace: Option<Arc<Trace>>,
    /// Where its holder shows the env and its last step.
    block: Option<&'static Block>,
    base: Base,
    calls: Calls,
}

/// What to do for somebody who could not get the lock.
#[derive(Debug)]
pub(crate) enum Mail {
    End(FrameId, End),
    Unpin,
}

/// Occurrences counted without the lock begin here: they cannot be told apart from those counted with it.
const VISITS_FROM: u32 = 1 << 31;

impl Cell {
    /// The line, unless a thread is in it. Never waits.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Line>> {
        match self.line.try_lock() {
            Ok(line) => Some(line),
            // Whatever panicked was not the line: it is only changed between user code, never around it.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Shows what the line begins as.
    pub(crate) fn open(&self, line: &Line) {
        let mut face = self.face.lock().unwrap_or_else(PoisonError::into_inner);
        face.trace = line.trace().cloned();
        face.block = line.block();
        face.base = line.base();
        face.calls.reset();
        self.forks.store(0, Ordering::Relaxed);
        self.visits.store(0, Ordering::Relaxed);
    }

    /// Takes the line out of use.
    pub(crate) fn close(&self, line: &mut Line) -> Option<Arc<Trace>> {
        let mut face = self.face.lock().unwrap_or_else(PoisonError::into_inner);
        (face.trace, face.block) = (None, None);
        line.take_trace()
    }

    /// The trace of the line; `None` if it is out of use.
    pub(crate) fn trace(&self) -> Option<Arc<Trace>> {
        self.face.lock().unwrap_or_else(PoisonError::into_inner).trace.clone()
    }

    pub(crate) fn base(&self) -> Base {
        self.face.lock().unwrap_or_else(PoisonError::into_inner).base
    }

    /// Leaves the line where its holder last showed it; `None` if it is out of use.
    pub(crate) fn departure(&self, cause: Cause) -> Option<Departure> {
        let face = self.face.lock().unwrap_or_else(PoisonError::into_inner);
        let (trace, block) = (face.trace.clone()?, face.block?);
        let env = Some(shown(block)?);
        // After whatever its holder has recorded so far.
        let seq = u64::MAX;
        Some(Departure { env, seq, cause, flows: Standing::unseen(), ..Departure::root(trace) })
    }

    pub(crate) fn next_fork(&self) -> u64 {
        self.forks.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a call of `node` made by no frame of the line.
    pub(crate) fn call_at_base(&self, node: u32) -> (Base, u32) {
        let mut face = self.face.lock().unwrap_or_else(PoisonError::into_inner);
        (face.base, face.calls.count(node))
    }

    /// Counts a call made by a frame while another thread holds the line.
    pub(crate) fn visit(&self) -> u32 {
        VISITS_FROM | self.visits.fetch_add(1, Ordering::Relaxed)
    }

    /// Leaves word. The caller must then try the lock again: the holder may have just gone.
    pub(crate) fn post(&self, mail: Mail) {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        self.has_mail.store(true, Ordering::Relaxed);
        // Pairs with the one in `has_mail`: of the poster, who sets the flag and then tries the lock, and the
        // holder, who unlocks and then looks at the flag, at least one sees the other.
        fence(Ordering::SeqCst);
    }

    /// Whether there is mail; asked after the lock was given back.
    pub(crate) fn has_mail(&self) -> bool {
        fence(Ordering::SeqCst);
        self.has_mail.load(Ordering::Relaxed)
    }

    /// The mail, for who holds the lock.
    pub(crate) fn take_mail(&self) -> Vec<Mail> {
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_mail.store(false, Ordering::Relaxed);
        std::mem::take(&mut *mail)
    }
}

/// The env and its last step, as the holder of the line shows them.
fn shown(block: &Block) -> Option<(EnvId, u64)> {
    // Twice, because the holder may be about to go on in another env: then the step is of one of them, the env of the other.
    let look = || (block.get(block::ENV), block.get(block::LAST));
    let mut seen = look();
    loop {
        let again = look();
        if again.0 == seen.0 && FrameId::ordinal_of(again.1) == FrameId::ordinal_of(seen.1) {
            break;
        }
        seen = again;
    }
    Some((EnvId::new(seen.0)?, FrameId::step_of(seen.1)))
}

/// An env that has no line yet, made one.
pub(crate) fn adopt(cell: &Cell, line: &mut Line, trace: Arc<Trace>, env: Opened) {
    line.adopt(trace, env);
    cell.open(line);
}
