//! Which ids are named more than once in a file, without a list of them.

use tracer::TraceId;

/// The ids that something names, and those that more than one thing does.
///
/// Some others are taken for such, about one in twenty: so what is said of those that are named less often has to hold for
/// all of them, too.
#[derive(Debug)]
pub(super) struct Named(Vec<Bits>);

/// Of the ids that are spread to here.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    once: u64,
    twice: u64,
}

/// Pairs of bits for each slot of a file, or up to twice as many. A trace takes four slots or more, and two ids.
const BITS_A_SLOT: usize = 16;
/// Words of bits, those of the largest files too: in these, more is taken for what it is not.
const WORDS_MAX: usize = 1 << 20;

impl Named {
    /// For a file of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self(vec![Bits::default(); (slots * BITS_A_SLOT / 64).next_power_of_two().min(WORDS_MAX)])
    }

    pub(super) fn add(&mut self, id: u64) {
        let (at, bit) = self.bit(id);
        let Bits { once, twice } = &mut self.0[at];
        *twice |= *once & bit;
        *once |= bit;
    }

    /// As if it were named twice.
    pub(super) fn add_twice(&mut self, id: u64) {
        let (at, bit) = self.bit(id);
        let Bits { once, twice } = &mut self.0[at];
        *once |= bit;
        *twice |= bit;
    }

    pub(super) fn has_twice(&self, id: u64) -> bool {
        let (at, bit) = self.bit(id);
        self.0[at].twice & bit != 0
    }

    /// Takes what another part of the file names.
    pub(super) fn append(&mut self, other: &Self) {
        for (Bits { once, twice }, there) in self.0.iter_mut().zip(&other.0) {
            *twice |= there.twice | (*once & there.once);
            *once |= there.once;
        }
    }

    /// Ids are random. If somebody means harm, they are all taken for one that is named twice, and each is looked up.
    fn bit(&self, id: u64) -> (usize, u64) {
        let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = usize::try_from(spread >> 32).unwrap_or(0) & (self.0.len() - 1);
        (at, 1 << (spread >> 26 & 63))
    }
}

/// The half of an id by which a trace is named.
#[expect(clippy::cast_possible_truncation, reason = "takes a half")]
pub(super) fn low(trace: TraceId) -> u64 {
    trace.get() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_parts_name_is_named_twice() {
        let [mut one, mut other] = [0; 2].map(|_| Named::new(10_000));
        for id in 1..100 {
            one.add(id);
            other.add(id + 90);
        }
        let is_twice = |named: &Named| (1..200).filter(|id| named.has_twice(*id)).collect::<Vec<_>>();
        assert_eq!(is_twice(&one), [0; 0]);
        one.append(&other);
        assert_eq!(is_twice(&one), (91..100).collect::<Vec<_>>());
        one.append(&other);
        assert_eq!(is_twice(&one), (91..190).collect::<Vec<_>>());
    }
}
