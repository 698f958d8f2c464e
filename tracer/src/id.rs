//! Names for traces and envs: random, unique across processes, printable.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random::AnyRandom;
use crate::text;

/// An id that is not of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hex digits, optionally after `{prefix}`, found `{found}`")]
pub struct ParseIdError {
    expected: usize,
    prefix: &'static str,
    found: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty), $digits:literal, $prefix:literal, $random:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// A new random id; never zero.
            pub(crate) fn random(from: &AnyRandom) -> Self {
                Self(from.$random())
            }

            /// The id as a number; zero never occurs.
            pub const fn get(self) -> $int {
                self.0
            }

            /// The id with this number, unless it is zero.
            pub const fn new(number: $int) -> Option<Self> {
                if number == 0 { None } else { Some(Self(number)) }
            }

            /// Digit by digit: several times as quick as by formatting.
            pub(crate) fn digits(self) -> [u8; $digits] {
                let mut text = [b'0'; $digits];
                let mut rest = self.0;
                for digit in text.iter_mut().rev() {
                    *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
                    rest >>= 4;
                }
                text
            }
        }

        /// Shows the prefix and the hex digits; `{:x}` shows the digits alone.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:x}"), self)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(text::ascii(&self.digits()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Reads what `Display` or `{:x}` wrote.
        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                let lowercase = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                Some(digits)
                    .filter(|digits| digits.len() == $digits && lowercase)
                    .and_then(|digits| <$int>::from_str_radix(digits, 16).ok())
                    .and_then(Self::new)
                    .ok_or_else(|| ParseIdError {
                        expected: $digits,
                        prefix: $prefix,
                        found: text.chars().take(80).collect(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(text::ascii(&self.digits()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::parse(deserializer)
            }
        }
    };
}

id! {
    /// One causal story. 16 bytes, 32 lowercase hex digits, shown as `tr_…`.
    TraceId(u128), 32, "tr_", u128
}

id! {
    /// One line of calls inside a trace, with its own gapless sequence of steps. 8 bytes, shown as `env_…`.
    EnvId(u64), 16, "env_", u64
}

id! {
    /// One execution. 16 bytes, 32 lowercase hex digits, shown as `ex_…`. Begins with the time at which it was made, so
    /// that neighbours in time are neighbours in an index; it is a UUID of version 7.
    ExecutionId(u128), 32, "ex_", u128
}

impl From<&ExecutionId> for ExecutionId {
    fn from(id: &ExecutionId) -> Self {
        *id
    }
}

impl ExecutionId {
    /// A new id behind all that were made with this `last`, in this millisecond or later. The time may be any: ids are
    /// unique without it. `last` is what the previous id begins with, milliseconds and a count in 60 bits.
    pub(crate) fn next(last: &AtomicU64, unix_ms: u64, from: &AnyRandom) -> Self {
        const VERSION: u128 = 7 << 76;
        const VARIANT: u128 = 2 << 62;
        let begin = |last: u64| (unix_ms << 12).max(last + 1);
        let previous = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(begin(last)));
        let begin = u128::from(begin(previous.unwrap_or_else(|last| last)));
        let random = Self::random(from).get() & ((1 << 62) - 1);
        Self(((begin >> 12) << 80) | VERSION | ((begin & 0xfff) << 64) | VARIANT | random)
    }
}

impl TraceId {
    /// The id of any number: its lowest bit is set, for zero is none.
    pub(crate) const fn odd(number: u128) -> Self {
        Self(number | 1)
    }

    /// The high and the low half.
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    pub(crate) const fn halves(self) -> (u64, u64) {
        ((self.get() >> 64) as u64, self.get() as u64)
    }
}

impl EnvId {
    /// The id of any number: its lowest bit is set, for zero is none.
    pub(crate) const fn odd(number: u64) -> Self {
        Self(number | 1)
    }
}

/// A map by ids, which are random already.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
/// A set of ids.
pub(crate) type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Takes the bits of an id as they are. Nobody outside chooses them, so nobody can make them collide.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    fn write_u64(&mut self, bits: u64) {
        // Frame ids differ in their high bits only, or in their low bits only; the map looks at both ends.
        let product = u128::from(self.0 ^ bits) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
    fn write_u128(&mut self, bits: u128) {
        self.write_u64(bits as u64);
    }
}

/// One run of a traced function, unique in its trace: shown as `env.step`, the ordinal of the env in its trace and
/// the step that entered it. The frame of the first traced call is `0.1`. A process that was forked, and whose recorder is
/// told of it, counts envs from a random number: most likely no two processes that go on with a trace have one frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(NonZeroU64);

/// 2^40 steps in an env at a call each 25 ns last seven hours of nothing but tracing, and only one of the two
/// frames that then share a number can still be open.
const STEP_BITS: u32 = 40;

impl FrameId {
    pub(crate) const fn new(env_ordinal: u32, step: u64) -> Self {
        match NonZeroU64::new(Self::raw_of(env_ordinal as u64, step)) {
            Some(raw) => Self(raw),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The number of [`new`](Self::new); 0 only for the step that the very first env would reach after 2^40.
    #[inline]
    pub(crate) const fn raw_of(env_ordinal: u64, step: u64) -> u64 {
        (env_ordinal << STEP_BITS) | (step & ((1 << STEP_BITS) - 1))
    }

    /// The ordinal in a number.
    pub(crate) const fn ordinal_of(raw: u64) -> u64 {
        raw >> STEP_BITS
    }

    /// The step in a number.
    pub(crate) const fn step_of(raw: u64) -> u64 {
        raw & ((1 << STEP_BITS) - 1)
    }

    pub(crate) const fn raw(self) -> u64 {
        self.0.get()
    }

    pub(crate) const fn from_raw(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

impl FrameId {
    /// The frame as a number: the env above, the lowest 40 bits the step. Zero never occurs.
    pub const fn number(self) -> u64 {
        self.raw()
    }

    /// The frame with this number, unless it is zero.
    pub const fn from_number(number: u64) -> Option<Self> {
        Self::from_raw(number)
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.raw() >> STEP_BITS, self.raw() & ((1 << STEP_BITS) - 1))
    }
}

impl fmt::Debug for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FrameId {
    type Err = ParseFrameIdError;

    fn from_str(text: &str) -> Result<Self, ParseFrameIdError> {
        let read = || {
            let (env, step) = text.split_once('.')?;
            let (env, step): (u32, u64) = (env.parse().ok()?, step.parse().ok()?);
            (step > 0 && step >> STEP_BITS == 0).then(|| Self::new(env, step))
        };
        read().ok_or_else(|| ParseFrameIdError(text.chars().take(80).collect()))
    }
}

/// A frame id that is not of the form `env.step`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a frame as `env.step` (like `0.1`), found `{0}`")]
pub struct ParseFrameIdError(String);

impl Serialize for FrameId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FrameId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let id = TraceId::random(&AnyRandom::System);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(format!("{id:x}").parse(), Ok(id));
        assert_eq!(format!("{id:x}").len(), 32);
        let frame = FrameId::new(7, 42);
        assert_eq!(frame.to_string(), "7.42");
        assert_eq!("7.42".parse(), Ok(frame));
    }

    #[test]
    fn execution_ids_are_uuids_in_the_order_in_which_they_are_made() {
        let last = AtomicU64::new(0);
        let next = |ms| ExecutionId::next(&last, ms, &AnyRandom::System);
        let first = next(1_700_000_000_000);
        let text = format!("{first:x}");
        assert_eq!(&text[..16], "018bcfe568007000");
        assert!(matches!(&text[16..17], "8" | "9" | "a" | "b"), "{text}");
        assert_eq!(first.to_string().parse(), Ok(first));
        let mut before = first;
        // More in a millisecond than the count has place for, and a clock that falls.
        for ms in std::iter::repeat_n(1_700_000_000_000, 10_000).chain([1_600_000_000_000, 1_700_000_000_001]) {
            let id = next(ms);
            assert!(id > before);
            before = id;
        }
    }

    /// A map takes the place from the lowest bits of a hash. Frames of many envs have equal low bits.
    #[test]
    fn frames_of_many_envs_spread_over_a_map() {
        use std::hash::BuildHasher;
        let hash = |frame: FrameId| BuildHasherDefault::<IdHasher>::default().hash_one(frame) & 0xffff;
        let first_steps: HashSet<u64> = (0..10_000).map(|env| hash(FrameId::new(env, 1))).collect();
        let one_env: HashSet<u64> = (1..10_001).map(|step| hash(FrameId::new(0, step))).collect();
        assert!(first_steps.len() > 8_000, "{} of 10000", first_steps.len());
        assert!(one_env.len() > 8_000, "{} of 10000", one_env.len());
    }

    #[test]
    fn malformed_ids_say_what_was_expected() {
        for text in ["", "tr_", "0", "tr_00000000000000000000000000000000", "TR_", "g0", &"f".repeat(33)] {
            let error = text.parse::<TraceId>().unwrap_err();
            assert!(error.to_string().contains("expected 32 hex digits"), "{error}");
        }
        let uppercase = "A".repeat(32);
        assert!(uppercase.parse::<TraceId>().is_err());
    }
}
