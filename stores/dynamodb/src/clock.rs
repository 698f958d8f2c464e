//! The service's time, from the dates of its answers: callers' clocks may show anything.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tracer::SystemClock;
use tracer::execution::Timestamp;

/// A date says which second it is (RFC 9110, 6.6.1).
const DATE_NS: i64 = 1_000_000_000;
/// How much faster than the service's this machine's clock may go: a hundredth of a percent, twice what crystals do.
const DRIFT: i64 = 10_000;

/// What contradicts by more is another time.
const DOUBT_NS: i64 = 1_000_000_000;

/// The service's time, as far as it is known.
#[derive(Clone)]
pub(crate) struct Dates {
    /// By a clock that nobody sets.
    began: Instant,
    known: Arc<Mutex<Option<Ahead>>>,
}

/// How far the service's clock is ahead of the time since the beginning, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    at_least: i64,
    /// When that was found.
    found_ns: i64,
    /// What the answer before has said, if that was another time altogether.
    doubt: Option<i64>,
}

/// What an answer says of it.
#[derive(Debug, Clone, Copy)]
struct Said {
    at_least: i64,
    at_most: i64,
    received_ns: i64,
}

impl Said {
    /// By an answer that was dated between `sent_ns` and `received_ns`.
    fn of(date_ns: i64, sent_ns: i64, received_ns: i64) -> Self {
        let at_most = date_ns.saturating_add(DATE_NS).saturating_sub(sent_ns);
        Self { at_least: date_ns.saturating_sub(received_ns), at_most, received_ns }
    }
}

impl Said {
    /// Whether it is another time altogether that `at_least` is of.
    fn contradicts(self, at_least: i64) -> bool {
        // What is at least so much may be more by as much as a date leaves open.
        let (from, to) = (self.at_least.saturating_sub(DATE_NS + DOUBT_NS), self.at_most.saturating_add(DOUBT_NS));
        !(from..=to).contains(&at_least)
    }
}

impl Ahead {
    fn new(Said { at_least, received_ns, .. }: Said) -> Self {
        Self { at_least, found_ns: received_ns, doubt: None }
    }

    /// The time at least: as answers say more, it goes on and never back.
    fn time_after(self, elapsed_ns: i64) -> i64 {
        elapsed_ns + self.at_least
    }

    /// With what an answer says: if both cannot be so, as little else as that allows. Another time altogether is believed
    /// when two say so, that answer and the one before or this machine's clock: then the clock was set, or this machine has
    /// slept, and the answer was not dated wrong. `here` is how far this machine's clock is ahead.
    fn and(self, said: Said, here: i64) -> Self {
        if said.contradicts(self.at_least) {
            let is_confirmed = [Some(here), self.doubt].into_iter().flatten().any(|other| !said.contradicts(other));
            return if is_confirmed { Self::new(said) } else { Self { doubt: Some(said.at_least), ..self } };
        }
        let drift = (said.received_ns - self.found_ns) / DRIFT;
        let at_least = said.at_least.max((self.at_least - drift).min(said.at_most));
        Self { at_least, ..Self::new(said) }
    }
}

impl fmt::Debug for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dates").field(&*self.lock()).finish()
    }
}

impl Dates {
    #[expect(clippy::disallowed_methods, reason = "what is measured against is a stopwatch")]
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), known: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ahead>> {
        // Nothing can go wrong under the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ns(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// The time; this machine's, as long as no answer was dated.
    pub(crate) fn now(&self) -> Timestamp {
        let Some(ahead) = *self.lock() else { return Timestamp::now(&SystemClock) };
        let now = ahead.time_after(self.elapsed_ns());
        Timestamp::from_unix_ms(u64::try_from(now / 1_000_000).unwrap_or(0))
    }

    fn learn(&self, said: Said) {
        let here = Timestamp::now(&SystemClock).unix_ms().saturating_mul(1_000_000);
        let here = i64::try_from(here).unwrap_or(i64::MAX).saturating_sub(self.elapsed_ns());
        let mut known = self.lock();
        *known = Some(known.map_or_else(|| Ahead::new(said), |before| before.and(said, here)));
    }
}

/// When a request was sent, in nanoseconds since the beginning.
#[derive(Debug)]
struct Sent(i64);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Dates {
    fn name(&self) -> &'static str {
        "tracer-dynamodb dates"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Sent(self.elapsed_ns()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if let (Some(date), Some(Sent(sent))) = (date, config.load::<Sent>()) {
            self.learn(Said::of(date.secs().saturating_mul(DATE_NS), *sent, self.elapsed_ns()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const S: i64 = 1000 * MS;
    /// Where a clock shows that says nothing.
    const ELSEWHERE: i64 = i64::MIN / 2;

    /// A service whose clock is ahead by so much, asked at these times; an answer takes 40 ms, of which it is dated after 10.
    fn asked(ahead_ns: i64, at_ns: impl IntoIterator<Item = i64>) -> Ahead {
        let mut said = at_ns.into_iter().map(|at| Said::of((at + 10 * MS + ahead_ns) / S * S, at, at + 40 * MS));
        let first = Ahead::new(said.next().unwrap());
        said.fold(first, |before, said| before.and(said, ELSEWHERE))
    }

    #[test]
    fn answers_at_different_times_of_a_second_say_more_and_more() {
        const AHEAD: i64 = 1_790_000_000 * S + 123 * MS;
        let behind = |times: i64| (AHEAD - asked(AHEAD, (0..times).map(|n| n * 1373 * MS)).at_least) / MS;
        assert_eq!(behind(1), 163);
        assert!((30..160).contains(&behind(10)) && (30..60).contains(&behind(1000)), "{} {}", behind(10), behind(1000));
    }

    #[test]
    fn the_time_never_goes_back() {
        // As when a table is made, and the next answer is quick.
        let slow = Ahead::new(Said::of(0, 0, 500 * MS));
        let quick = slow.and(Said::of(0, 500 * MS, 501 * MS), ELSEWHERE);
        assert!(quick.time_after(501 * MS) >= slow.time_after(500 * MS));
    }

    #[test]
    fn an_answer_that_is_dated_a_little_early_takes_back_no_more_than_it_must() {
        let before = asked(0, (0..100).map(|n| n * 1373 * MS));
        // Of a server whose clock is behind by 100 ms, in the last of its second.
        let now = before.and(Said::of(200 * S, 201 * S + 50 * MS, 201 * S + 60 * MS), ELSEWHERE);
        assert_eq!(now.at_least, -50 * MS);
    }

    #[test]
    fn one_answer_that_is_dated_wrong_changes_nothing_and_two_are_believed() {
        let before = asked(5000 * S, (0..100).map(|n| n * 1373 * MS));
        for other in [9000 * S, 5004 * S, 4996 * S, -9000 * S] {
            let wrong = Said::of(200 * S + other, 200 * S, 200 * S + 40 * MS);
            let doubted = before.and(wrong, ELSEWHERE);
            assert_eq!(doubted.at_least, before.at_least);
            let right = Said::of(5201 * S, 201 * S, 201 * S + 40 * MS);
            assert_eq!(doubted.and(right, ELSEWHERE).doubt, None);
            assert_eq!(doubted.and(wrong, ELSEWHERE), Ahead::new(wrong), "the clock was set");
        }
    }

    #[test]
    fn after_a_sleep_the_first_answer_is_believed_that_this_machines_clock_confirms() {
        let before = asked(5000 * S, (0..100).map(|n| n * 1373 * MS));
        let said = Said::of(9200 * S, 200 * S, 200 * S + 40 * MS);
        assert_eq!(before.and(said, 9000 * S + 300 * MS), Ahead::new(said));
    }

    #[test]
    fn answers_that_take_long_say_little_and_nothing_else() {
        let before = asked(5000 * S, (0..100).map(|n| n * 1373 * MS));
        let slow = Said::of(5200 * S, 200 * S, 260 * S);
        let after = before.and(slow, ELSEWHERE).and(slow, ELSEWHERE);
        assert!(before.at_least - after.at_least < 20 * MS, "{before:?} {after:?}");
    }

    #[test]
    fn clocks_of_one_service_may_differ_a_little() {
        let before = asked(5000 * S, (0..100).map(|n| n * 1373 * MS));
        for ahead in [-1, 1] {
            let said = Said::of((5200 + ahead) * S, 200 * S, 200 * S + 40 * MS);
            assert_eq!(before.and(said, ELSEWHERE).doubt, None);
        }
        let said = Said::of(5202 * S, 200 * S, 200 * S + 40 * MS);
        assert_eq!(before.and(said, ELSEWHERE).at_least, said.at_least);
    }

    #[test]
    fn no_date_is_too_large() {
        let before = asked(5000 * S, [0]);
        let far = Said::of(i64::MAX, 200 * S, 201 * S);
        assert_eq!(before.and(far, ELSEWHERE).at_least, before.at_least);
    }

    #[test]
    fn clocks_may_drift_apart() {
        let before = Ahead { at_least: 100 * MS, found_ns: 0, doubt: None };
        let later = Said { at_least: -700 * MS, at_most: 340 * MS, received_ns: 3600 * S };
        assert_eq!(before.and(later, ELSEWHERE).at_least, -260 * MS);
    }
}
