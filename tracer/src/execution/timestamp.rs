//! Instants, as a store's clock gave them: milliseconds since 1970, RFC 3339 in JSON.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Clock;
use crate::text::ascii;

/// An instant by the clock of a store, in milliseconds since 1970 (UTC).
///
/// Shown and serialised as RFC 3339: `2026-01-31T12:00:00.000Z`. Instants of different stores are not to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// The last millisecond that RFC 3339 can write: the end of the year 9999.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

impl Timestamp {
    /// The instant so many milliseconds after 1970; the last of the year 9999, if that is later.
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(if ms > UNIX_MS_MAX { UNIX_MS_MAX } else { ms })
    }

    /// What a clock shows.
    pub fn now(clock: &(impl Clock + ?Sized)) -> Self {
        Self::from_unix_ms(clock.unix_ns(clock.ticks()) / 1_000_000)
    }

    /// Milliseconds since 1970.
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// So much later. Parts of a millisecond are dropped; the result is at most the end of the year 9999.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self::from_unix_ms(self.0.saturating_add(millis(duration)))
    }

    /// How long after `earlier`; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a duration; `u64::MAX` for those that are longer.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is left of a duration when it was stored.
pub(crate) fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.digits()))
    }
}

impl Timestamp {
    /// Stores that keep texts write some of these with each change: digit by digit is several times as quick as by
    /// formatting.
    fn digits(self) -> [u8; 24] {
        let (year, month, day) = civil(self.0 / DAY_MS);
        let ms = self.0 % DAY_MS;
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        let mut text = *b"yyyy-mm-ddThh:mm:ss.mmmZ";
        let parts = [(0..4, year), (5..7, month), (8..10, day), (11..13, hour), (14..16, minute), (17..19, second)];
        for (place, mut number) in parts.into_iter().chain([(20..23, ms)]) {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        text
    }
}

/// Day since 1970 to year, month, day. `days_from_civil` backwards: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms"; years begin in March, so that leap days come last.
const fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The day since 1970 of a date from 1970 on.
const fn day_of(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// A text that is not of the form that [`Timestamp`] has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-01-31T12:00:00.000Z, found `{}`", .0.chars().take(80).collect::<String>())]
pub struct ParseTimestampError(String);

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        parse(text.as_bytes()).map(Self).ok_or_else(|| ParseTimestampError(text.to_owned()))
    }
}

fn parse(text: &[u8]) -> Option<u64> {
    let number = |from: usize, len: usize| {
        text.get(from..from + len)?
            .iter()
            .try_fold(0_u64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
    };
    let is = |at: usize, byte: u8| (text.get(at) == Some(&byte)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second, ms) = (number(11, 2)?, number(14, 2)?, number(17, 2)?, number(20, 3)?);
    for (at, byte) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')] {
        is(at, byte)?;
    }
    let in_range = year >= 1970 && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    let days = (in_range && (1..=31).contains(&day)).then(|| day_of(year, month, day))?;
    // A day that its month does not have would come out as one of the next month.
    (text.len() == 24 && civil(days) == (year, month, day))
        .then_some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + ms)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ascii(&self.digits()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(deserializer)
    }
}

/// Durations as whole milliseconds, for `#[serde(with)]`.
pub(crate) mod ms {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, millis};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(millis(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, millis};

        #[expect(clippy::ref_option, reason = "the form that serde calls")]
        pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            duration.map(millis).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_251_200_123, "2024-03-01T00:00:00.123Z"),
            (UNIX_MS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_unix_ms(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_unix_ms(ms)));
        }
    }

    #[test]
    fn every_day_is_read_back() {
        let mut before = (0, 0, 0);
        for day in 0..=UNIX_MS_MAX / DAY_MS {
            let date = civil(day);
            assert!(date > before);
            assert_eq!(day_of(date.0, date.1, date.2), day);
            before = date;
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2024-03-01",
            "2024-03-01T00:00:00Z",
            "2023-02-29T00:00:00.000Z",
            "2024-00-01T00:00:00.000Z",
            "2024-01-32T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2024-03-01T24:00:00.000Z",
            "2024-03-01T00:00:00.000Z ",
            "2024-03-01 00:00:00.000Z",
            "+024-03-01T00:00:00.000Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
