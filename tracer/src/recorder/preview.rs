//! The beginning of the values of an open node, in its frame in a [block](super::block): what is left of them once its
//! enter was written over.

use serde_json::Value;

use crate::values::Captured;

/// Words of a frame that hold it.
const WORDS: usize = 3;
const BYTES: usize = WORDS * 8;
/// Where in a frame they begin.
pub const PREVIEW_AT: usize = 13;
/// The bits of word 2 of a frame that say how long it is, and whether values were left out.
pub const PREVIEW_BITS: u64 = LEN | CUT;

const LEN: u64 = 31 << LEN_SHIFT;
const LEN_SHIFT: u32 = 9;
const CUT: u64 = 1 << 14;

/// As many bytes of recorded values as a frame has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preview {
    pub(super) words: [u64; WORDS],
    /// The [bits](PREVIEW_BITS) of the frame.
    pub(super) bits: u64,
}

impl Preview {
    /// The beginning of `values`, of which something may have been left out before.
    pub(crate) fn of(values: &[u8], truncated: bool) -> Self {
        let mut first = [0; BYTES];
        let len = values.len().min(BYTES);
        first[..len].copy_from_slice(&values[..len]);
        Self::of_first(&first, values.len(), truncated)
    }

    /// Likewise, of `len` bytes of values that begin like this; what is not there is zero.
    #[inline]
    pub(super) fn of_first(first: &[u8; BYTES], len: usize, truncated: bool) -> Self {
        let cut = if truncated || len > BYTES { CUT } else { 0 };
        let word = |nth: usize| u64::from_le_bytes(std::array::from_fn(|byte| first[nth * 8 + byte]));
        Self { words: std::array::from_fn(word), bits: ((len.min(BYTES) as u64) << LEN_SHIFT) | cut }
    }

    /// That of a frame with this word 2, and these words from [`PREVIEW_AT`] on. `None`: it has none, or what no writer
    /// makes.
    pub fn read(state: u64, words: [u64; WORDS]) -> Option<Self> {
        let bits = state & PREVIEW_BITS;
        (1..=BYTES as u64).contains(&((bits & LEN) >> LEN_SHIFT)).then_some(Self { words, bits })
    }

    /// The values as JSON, and whether part of them was left out.
    pub fn values(&self) -> (Value, bool) {
        let len = usize::try_from((self.bits & LEN) >> LEN_SHIFT).unwrap_or(0);
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes()).take(len).collect();
        let captured = Captured::of(bytes, self.bits & CUT != 0);
        (captured.to_json(), captured.is_truncated())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::values::Limits;

    fn previewed(value: &str, truncated: bool) -> Option<(Value, bool)> {
        let captured = Captured::one(value, Limits::default()).unwrap();
        let Preview { words, bits } = Preview::of(captured.as_bytes(), truncated);
        // Beside all other flags, and the number of the call.
        Preview::read(bits | !PREVIEW_BITS, words).map(|preview| preview.values())
    }

    #[test]
    fn values_that_fit_are_whole_and_others_are_cut() {
        // One byte says that it is a text, and how long.
        let fits = "a".repeat(23);
        assert_eq!(previewed(&fits, false), Some((json!(fits), false)));
        assert_eq!(previewed(&fits, true), Some((json!(fits), true)));
        assert_eq!(previewed(&"a".repeat(24), false), Some((json!(fits), true)));
    }

    #[test]
    fn a_frame_without_one_or_with_too_long_a_one_has_none() {
        assert_eq!(Preview::read(!PREVIEW_BITS, [1; 3]), None);
        assert_eq!(Preview::read(CUT, [1; 3]), None);
        assert_eq!(Preview::read(25 << LEN_SHIFT, [1; 3]), None);
    }
}
