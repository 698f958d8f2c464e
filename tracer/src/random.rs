//! Where ids and jitter come from.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use fastrand::Rng;

/// Where ids come from.
///
/// They must be unique, not secret. By default each thread has a generator with a state of 128 bits, seeded from what the
/// standard library has; on `wasm32-unknown-unknown` there is nothing to seed it with, so give the tracer a source of the
/// host's.
pub trait Random: Send + Sync + 'static {
    /// 64 random bits.
    fn bits(&self) -> u64;
}

/// A source of ids.
#[derive(Clone, Default)]
pub(crate) enum AnyRandom {
    #[default]
    System,
    Other(Arc<dyn Random>),
}

impl AnyRandom {
    pub(crate) fn other(random: impl Random) -> Self {
        Self::Other(Arc::new(random))
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
    pub(crate) fn u32(&self) -> u32 {
        self.u64() as u32
    }

    /// Never zero.
    pub(crate) fn u64(&self) -> u64 {
        let number = match self {
            Self::System => system()[0],
            Self::Other(random) => random.bits(),
        };
        number.max(1)
    }

    /// Never zero.
    pub(crate) fn u128(&self) -> u128 {
        let [low, high] = match self {
            Self::System => system(),
            Self::Other(random) => [random.bits(), random.bits()],
        };
        (u128::from(high) << 64) | u128::from(low.max(1))
    }
}

/// The states of two generators, which go on in step: one of 64 bits would give two of very many processes the same ids,
/// and all that follow. They are our own, for that of `fastrand` is the program's, which may have seeded it.
type Seeds = [u64; 2];

thread_local! {
    // With nothing to drop: it is there as long as the thread.
    static SEEDS: Cell<Option<Seeds>> = const { Cell::new(None) };
    /// The process in which that was seeded; 0: nothing was.
    static PROCESS: Cell<u32> = const { Cell::new(0) };
}

fn process() -> u32 {
    if cfg!(target_family = "wasm") { 0 } else { std::process::id() }
}

fn system() -> [u64; 2] {
    SEEDS.with(|place| {
        let mut generators = place.get().unwrap_or_else(seeds).map(Rng::with_seed);
        let numbers = [generators[0].u64(..), generators[1].u64(..)];
        place.set(Some([generators[0].get_seed(), generators[1].get_seed()]));
        numbers
    })
}

/// Different in each thread, but for a thread and its copy in a forked process.
#[cold]
fn seeds() -> Seeds {
    PROCESS.set(process());
    let keyed = RandomState::new();
    [0_u8, 1].map(|which| keyed.hash_one(which))
}

/// Takes the ids of the calling thread from these seeds from now on: for who is told that the process was forked, as the
/// thread would give the ids that its original gives.
pub fn reseed_ids(seeds: [u64; 2]) {
    SEEDS.set(Some(seeds));
}

/// [`reseed_ids`], if this process is not the one that the thread was last here in: for who cannot be told, and has the
/// time to ask the system.
pub(crate) fn reseed_if_forked() {
    let (process, before) = (process(), PROCESS.get());
    if before != 0 && before != process {
        let keyed = RandomState::new();
        PROCESS.set(process);
        reseed_ids([0_u8, 1].map(|which| keyed.hash_one((process, which))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_seeds_is_its_own() {
        let numbers = |traced: bool| {
            fastrand::seed(7);
            [0, 1].map(|_| (traced.then(|| AnyRandom::System.u128()), fastrand::u64(..)))
        };
        let (plain, traced, again) = (numbers(false), numbers(true), numbers(true));
        assert_eq!(plain.map(|(_, number)| number), traced.map(|(_, number)| number));
        let ids: std::collections::HashSet<_> = traced.into_iter().chain(again).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 4, "ids do not follow from the seed");
    }

    #[test]
    fn halves_come_from_generators_of_their_own() {
        reseed_ids([1, 2]);
        let first = AnyRandom::System.u128();
        reseed_ids([1, 3]);
        let second = AnyRandom::System.u128();
        assert!((first ^ second).trailing_zeros() >= 64 && first != second);
        assert_ne!(first, AnyRandom::System.u128());
    }

    #[test]
    fn threads_have_ids_of_their_own() {
        let here = AnyRandom::System.u128();
        let there = std::thread::spawn(|| AnyRandom::System.u128()).join().unwrap();
        assert_ne!(here, there);
    }
}
