//! Pairs of a tick and a time: how a reader makes times of another process's ticks.

use std::sync::atomic::{AtomicU64, Ordering};

use tracer::Clock;
use tracer::recorder::Times;

use crate::format::{PAIR_WORDS, PAIRS, mix_words, u64_at};

/// At most one pair in this time: steadier than that no clock has to be.
const INTERVAL_NS: u64 = 100_000_000;

/// Writes pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    words: &'static [AtomicU64],
    salt: u64,
    count: u64,
    last_unix_ns: u64,
}

impl Pairs {
    pub(crate) fn new(words: &'static [AtomicU64], salt: u64) -> Self {
        Self { words, salt, count: 0, last_unix_ns: 0 }
    }

    /// Writes one if the last is old enough, and gives the time if it did.
    pub(crate) fn note(&mut self, times: &Times) -> Option<u64> {
        let (ticks, unix_ns) = times.now();
        if self.count > 0 && unix_ns.wrapping_sub(self.last_unix_ns) < INTERVAL_NS {
            return None;
        }
        self.count += 1;
        self.last_unix_ns = unix_ns;
        let first = place(self.count) * PAIR_WORDS;
        let pair = [ticks, unix_ns, self.count, mix_words(&[ticks, unix_ns, self.count], self.salt)];
        for (word, value) in self.words.get(first..).unwrap_or(&[]).iter().zip(pair) {
            word.store(value, Ordering::Relaxed);
        }
        Some(unix_ns)
    }
}

/// The first pair stays; the others go around the rest.
fn place(number: u64) -> usize {
    match number.checked_sub(2) {
        None => 0,
        Some(later) => 1 + usize::try_from(later % (PAIRS as u64 - 1)).unwrap_or(0),
    }
}

/// The clock that pairs describe.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileClock {
    /// By ticks, both rising.
    pairs: Vec<(u64, u64)>,
}

impl FileClock {
    pub(crate) fn read(region: &[u8], salt: u64) -> Self {
        let mut pairs: Vec<(u64, u64)> = region
            .chunks_exact(PAIR_WORDS * 8)
            .filter_map(|pair| {
                let words: [u64; PAIR_WORDS] = std::array::from_fn(|word| u64_at(pair, word * 8));
                let [ticks, unix_ns, number, check] = words;
                (number != 0 && mix_words(&words[..3], salt) == check).then_some((ticks, unix_ns))
            })
            .collect();
        pairs.sort_unstable();
        pairs.dedup_by(|later, earlier| later.0 == earlier.0 || later.1 <= earlier.1);
        Self { pairs }
    }
}

impl FileClock {
    /// With one pair alone, takes the rate from a later pair of the same counter. `raw` is one that was made early of the
    /// raw clock, if `later` is of that: the system counts it by a rate of whole kHz, so all who look a second or more after
    /// the first pair get the same. The time is slewed, and compared less closely: in steps of 10 kHz.
    pub(crate) fn take_rate(&mut self, raw: Option<(u64, u64)>, later: Option<(u64, u64)>) {
        let (&[(ticks, unix_ns)], Some((later_ticks, later_ns))) = (&self.pairs[..], later) else { return };
        let (from, from_ns) = raw.unwrap_or((ticks, unix_ns));
        let (Some(ticks_passed), Some(ns_passed)) = (later_ticks.checked_sub(from), later_ns.checked_sub(from_ns))
        else {
            return;
        };
        let step = if raw.is_some() { 1 } else { 10 };
        let per_step = u128::from(ns_passed.max(1)) * step;
        let khz = (u128::from(ticks_passed) * 1_000_000 + per_step / 2) / per_step * step;
        if (100_000..=10_000_000).contains(&khz) {
            self.pairs.extend(
                u64::try_from(khz)
                    .ok()
                    .map(|khz| (ticks.saturating_add(khz * 1_000_000), unix_ns.saturating_add(1_000_000_000_000))),
            );
        }
    }
}

impl Clock for FileClock {
    fn ticks(&self) -> u64 {
        0
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        let after = self.pairs.partition_point(|(pair, _)| *pair <= ticks);
        // The nearest two, also for what lies before the first or after the last.
        let second = after.clamp(1, self.pairs.len().max(2) - 1);
        match (self.pairs.get(second - 1), self.pairs.get(second)) {
            (Some(first), Some(second)) => along(*first, *second, ticks),
            // One alone says no rate. A tick is a nanosecond then: right for clocks that count those, else close by.
            (Some((at, unix_ns)), None) => {
                let unix_ns = i128::from(*unix_ns) + i128::from(ticks) - i128::from(*at);
                u64::try_from(unix_ns).unwrap_or(0)
            }
            _ => 0,
        }
    }
}

fn along((from, from_ns): (u64, u64), (to, to_ns): (u64, u64), ticks: u64) -> u64 {
    // Nearly always: the other way divides 128 bits, several times as long, twice for each of all traces.
    let near = ticks.checked_sub(from).and_then(|distance| distance.checked_mul(to_ns.checked_sub(from_ns)?));
    if let Some(product) = near {
        return from_ns.saturating_add(product / to.saturating_sub(from).max(1));
    }
    let distance = i128::from(ticks) - i128::from(from);
    let ns = i128::from(from_ns) + distance * i128::from(to_ns - from_ns) / i128::from(to - from).max(1);
    u64::try_from(ns).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tracer::ManualClock;

    #[test]
    fn one_pair_takes_the_rate_of_a_later_one() {
        let mut clock = FileClock { pairs: vec![(1_000, 5_000_000_000)] };
        clock.take_rate(None, None);
        assert_eq!(clock.unix_ns(2_500_001_000), 7_500_000_000, "a tick is a nanosecond");
        let alone = clock.clone();
        clock.take_rate(None, Some((1_000 + 25_000_000_049, 15_000_000_000)));
        assert_eq!(clock.unix_ns(2_500_001_000), 6_000_000_000);
        // Of the raw clock, to a kHz: 2.000003 GHz.
        let mut clock = alone;
        clock.take_rate(Some((500, 70)), Some((500 + 20_000_030_004, 10_000_000_070)));
        assert_eq!(clock.unix_ns(2_000_003_000 + 1_000), 6_000_000_000);
    }

    #[test]
    fn ticks_become_times_between_before_and_after_pairs() {
        let words: &[AtomicU64] = Vec::leak((0..PAIRS * PAIR_WORDS).map(|_| AtomicU64::new(0)).collect());
        let clock = ManualClock::new(Duration::from_secs(1000));
        let times = Times::new(clock.clone());
        let mut pairs = Pairs::new(words, 7);
        let mut written = 0;
        for _ in 0..5000 {
            written += u64::from(pairs.note(&times).is_some());
            clock.advance(Duration::from_millis(50));
        }
        assert_eq!(written, 2500);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let read = FileClock::read(&bytes, 7);
        assert_eq!(read.pairs.len(), PAIRS);
        for ns in [0, 999, 1000, 1001, 1100, 1249, 1250, 5000].map(|seconds| seconds * 1_000_000_000 + 7) {
            assert_eq!(read.unix_ns(ns), ns);
        }
        assert_eq!(FileClock::read(&bytes, 8).pairs.len(), 0);
        assert_eq!(FileClock::default().unix_ns(5), 0);
    }
}
