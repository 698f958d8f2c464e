//! How long to wait before the next attempt. Pure: randomness is an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timestamp::{millis, ms};

/// How long an execution waits after an attempt that failed. Kept with the execution, as the last wait is, so that
/// whichever process deals with a failure comes to the same answer.
///
/// With jitter, the default, each wait is drawn between `base` and three times the one before ("decorrelated jitter"):
/// it grows exponentially on average, and executions that failed together do not come back together. Without, it is
/// `base`, doubled after each attempt. No wait is longer than `cap`, unless the failure itself asks for it
/// ([`Failure::retry_after`](super::Failure::retry_after)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// The shortest wait: 1 s unless given. In JSON `baseMs`, whole milliseconds.
    #[serde(rename = "baseMs", with = "ms")]
    pub base: Duration,
    /// The longest wait: 5 min unless given. In JSON `capMs`, whole milliseconds.
    #[serde(rename = "capMs", with = "ms")]
    pub cap: Duration,
    /// Whether waits are drawn at random.
    pub jitter: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(300), jitter: true }
    }
}

impl RetryPolicy {
    /// Waits from `base` to `cap`, with jitter.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: true }
    }

    /// The same, always as long: for tests, and for who has spread the load in another way.
    #[must_use]
    pub const fn without_jitter(self) -> Self {
        Self { jitter: false, ..self }
    }

    /// The wait after the attempt number `attempt` (from 1), when the one before was `previous`. `random` is any number;
    /// all of them equally likely.
    pub fn delay(&self, attempt: u32, previous: Option<Duration>, random: u32) -> Duration {
        let (base, cap) = (millis(self.base), millis(self.cap).max(millis(self.base)));
        let delay = if self.jitter {
            let longest = previous.map_or(base, millis).max(base).saturating_mul(3).min(cap);
            let span = u128::from(longest - base) + 1;
            let drawn = (span * u128::from(random)) >> 32;
            base.saturating_add(u64::try_from(drawn).unwrap_or(u64::MAX))
        } else {
            base.saturating_mul(1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX))
        };
        Duration::from_millis(delay.min(cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_cap_without_jitter() {
        let policy = RetryPolicy::new(SECOND, SECOND * 10).without_jitter();
        let delays: Vec<u64> = (1..=6).map(|attempt| policy.delay(attempt, None, 7).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        assert_eq!(policy.delay(u32::MAX, None, 0), SECOND * 10);
    }

    #[test]
    fn waits_are_between_base_and_three_times_the_last_with_jitter() {
        let policy = RetryPolicy::new(SECOND, SECOND * 100);
        for previous in [None, Some(SECOND), Some(SECOND * 5), Some(SECOND * 90), Some(Duration::MAX)] {
            let longest = (previous.unwrap_or(SECOND).min(SECOND * 100) * 3).min(SECOND * 100);
            assert_eq!(policy.delay(1, previous, 0), SECOND);
            assert_eq!(policy.delay(1, previous, u32::MAX), longest);
            let middle = policy.delay(1, previous, u32::MAX / 2);
            assert!(middle > SECOND && middle < longest);
        }
    }

    #[test]
    fn nonsense_is_taken_as_well_as_can_be() {
        let backwards = RetryPolicy::new(SECOND * 10, SECOND);
        assert_eq!(backwards.delay(3, Some(SECOND), u32::MAX), SECOND * 10);
        assert_eq!(RetryPolicy::new(Duration::MAX, Duration::MAX).delay(9, None, 9), Duration::from_millis(u64::MAX));
        assert_eq!(RetryPolicy::new(Duration::ZERO, SECOND).delay(9, None, u32::MAX), Duration::ZERO);
    }
}
