//! When executions have their turn whose key has as many running as it may. Pure: the time is an argument.
//!
//! A worker keeps some that wait. To the others it gives times at which they come back, one after the other, about twice as
//! often as they can run here: so they come in order, hardly ever is a place free while there is one that could have it,
//! other workers find some, too, and the store is not asked for the same ones all the time.

use std::time::Duration;

use tokio::time::Instant;

/// How long what is given back is left alone, at least and at most: there may be more of it than anybody has counted.
const BACK_MIN: Duration = Duration::from_millis(250);
pub(crate) const BACK_MAX: Duration = Duration::from_secs(30);
/// As long as nothing is known: whatever waits is looked at once more when something is.
const TAKES_FIRST: Duration = Duration::from_millis(1);
/// So many times as often as they can run here do they come back.
const HASTE: u32 = 2;

/// The turns of one key.
#[derive(Debug)]
pub(crate) struct Turns {
    /// How many may run at once.
    at_once: u32,
    /// How long one takes, on average.
    takes: Option<Duration>,
    /// When one began or ended last.
    since: Option<Instant>,
    /// When the next that is given back is to come back.
    next: Option<Instant>,
}

impl Turns {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once: u32::try_from(at_once).unwrap_or(u32::MAX).max(1), takes: None, since: None, next: None }
    }

    /// One begins.
    pub(crate) fn begins(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// One ends, and took so long.
    pub(crate) fn ends(&mut self, took: Duration, now: Instant) {
        self.since = Some(now);
        self.takes = Some(self.takes.map_or(took, |takes| (takes.saturating_mul(3).saturating_add(took)) / 4));
    }

    /// Between one and the next. Those that run may take longer than any before.
    fn interval(&self, now: Instant) -> Duration {
        let so_far = self.since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        (self.takes.unwrap_or(TAKES_FIRST).max(so_far) / self.at_once).max(Duration::from_micros(1))
    }

    /// How many have their turn within this time.
    pub(crate) fn within(&self, time: Duration, now: Instant) -> usize {
        usize::try_from(time.as_micros() / self.interval(now).as_micros()).unwrap_or(usize::MAX)
    }

    /// Whether all that were given back are due.
    pub(crate) fn are_over(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// Whether some of those that were given back may be in the store; once they are due, that is said once.
    pub(crate) fn may_come_back(&mut self, now: Instant) -> bool {
        let may = self.next.is_some();
        if self.are_over(now) {
            self.next = None;
        }
        may
    }

    /// For how long to give one back, behind those that were before.
    pub(crate) fn give_back(&mut self, now: Instant) -> Duration {
        let due = self.next.unwrap_or(now).clamp(now + BACK_MIN, now + BACK_MAX);
        self.next = Some(due + self.interval(now) / HASTE);
        due - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_given_back_comes_in_order_and_twice_as_often_as_it_can_run() {
        let now = Instant::now();
        let mut turns = Turns::new(2);
        assert!(turns.are_over(now));
        turns.ends(80 * MS, now);
        assert_eq!(turns.within(250 * MS, now), 6);
        let waits: Vec<Duration> = (0..4).map(|_| turns.give_back(now)).collect();
        assert_eq!(waits, [250 * MS, 270 * MS, 290 * MS, 310 * MS]);
        assert!(!turns.are_over(now + 310 * MS) && turns.are_over(now + 330 * MS));
        let waits: Vec<Duration> = (0..10_000).map(|_| turns.give_back(now)).collect();
        assert!(waits.is_sorted() && waits.ends_with(&[BACK_MAX; 2]), "never for long");
        assert_eq!(turns.give_back(now + BACK_MAX + 20 * MS), BACK_MIN, "they are due by then");
        assert!(turns.may_come_back(now) && turns.may_come_back(now + 2 * BACK_MAX));
        assert!(!turns.may_come_back(now + 2 * BACK_MAX), "said once");
    }

    #[test]
    fn they_come_as_long_as_those_before_them_took() {
        let (mut turns, now) = (Turns::new(1), Instant::now());
        assert_eq!(turns.interval(now), TAKES_FIRST);
        turns.begins(now);
        assert_eq!(turns.interval(now + 7000 * MS), 7000 * MS, "the first runs, and takes long");
        turns.ends(100 * MS, now);
        assert_eq!(turns.interval(now), 100 * MS);
        turns.ends(20 * MS, now);
        assert_eq!(turns.interval(now), 80 * MS);
        turns.begins(now + 10 * MS);
        assert_eq!((turns.interval(now + 50 * MS), turns.interval(now + 100 * MS)), (80 * MS, 90 * MS));
        turns.ends(Duration::MAX, now);
        turns.ends(Duration::MAX, now);
        assert_eq!(turns.within(3600 * 1000 * MS, now), 0);
        (0..1000).for_each(|_| turns.ends(Duration::ZERO, now));
        assert_eq!(turns.within(MS, now), 1000, "it is never nothing");
    }
}
