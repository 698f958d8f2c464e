//! Sets and maps of what is open.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

/// For sets of what is open: spreads few numbers, in another way each time, since somebody may mean harm.
#[derive(Debug, Clone)]
pub(super) struct Spread(u64);

/// See [`Spread`].
#[derive(Debug)]
pub(super) struct Spreader {
    seed: u64,
    sum: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self(RandomState::new().hash_one(()) | 1)
    }
}

impl BuildHasher for Spread {
    type Hasher = Spreader;

    fn build_hasher(&self) -> Spreader {
        Spreader { seed: self.0, sum: 0 }
    }
}

impl Hasher for Spreader {
    fn finish(&self) -> u64 {
        self.sum
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.sum ^ number ^ self.seed) * u128::from(self.seed);
        #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
        let (high, low) = ((product >> 64) as u64, product as u64);
        self.sum = high ^ low;
    }
}

/// The envs of what is open.
pub(super) type EnvSet = HashSet<u64, Spread>;
/// Frames that are open.
pub(super) type FrameSet = HashSet<u64, Spread>;
/// By the place of an env of which something is open.
pub(super) type PlaceMap<T> = HashMap<u32, T, Spread>;
/// By a trace, as its place, and a frame of it that is open.
pub(super) type FrameMap<T> = HashMap<(u32, u64), T, Spread>;
