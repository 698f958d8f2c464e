//! The numbers of envs in their trace, as the numbers of [frames](crate::FrameId) have them.
//!
//! A forked process and its parent both go on with a trace that they had, and count its envs from where it was. So that
//! no two frames of it have one number, each forked process has ordinals of its own.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many bits of a frame's number are the ordinal.
const BITS: u32 = 24;
/// Set in all ordinals of forked processes.
const FORKED: u32 = 1 << (BITS - 1);

/// Where those of this process begin; 0 if it was not forked.
static FROM: AtomicU32 = AtomicU32::new(0);

/// Numbers frames apart from those of the process that this one was forked from, and of others that were: for who is told
/// that it was forked. `seed` is another in each.
#[expect(clippy::cast_possible_truncation, reason = "as random as the rest")]
pub fn number_frames_apart(seed: u64) {
    FROM.store(FORKED | (seed as u32 % FORKED), Ordering::Relaxed);
}

/// Where the ordinals of this process begin: another for each.
#[inline]
pub(crate) fn from() -> u32 {
    FROM.load(Ordering::Relaxed)
}

/// The ordinal, in this process, of the env with this number from 0 on.
pub(crate) fn here(number: u32) -> u32 {
    match from() {
        0 => number,
        from => FORKED | (from.wrapping_add(number) % FORKED),
    }
}
