//! What is recorded of a redacted value: a keyed hash, by which two of them can be seen to be equal.
//!
//! `SipHash` is a pseudorandom function: who does not know the key learns from a hash neither the value nor whether a
//! guess is right, however short the value is. The key is never written anywhere. `HashMap`'s hasher would do within
//! one process, but its keys cannot be given and its function may change with the compiler.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use siphasher::sip::SipHasher24;

/// The key of this process; `None`: there is nothing to take one from.
static KEY: OnceLock<Option<Key>> = OnceLock::new();

/// A value of more bytes has no hash: a traced call is not to wait for a large one.
const BYTES_MAX: usize = 64 << 10;

/// Ends an array or a map; no value begins with it, as `MessagePack` does not use it.
const END: u8 = 0xc1;

/// Why the key stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected no key for redacted values, found one that was given, or taken when the first value was redacted")]
pub struct RedactionKeyInUse;

/// Gives the key of the hashes that stand for redacted values, for this process: 16 secret random bytes, the same in all
/// processes whose values are to be compared. Without it, each process makes a key of its own.
///
/// A redacted value is recorded as `{"$redacted": "0f3c5a71-9d2be8c4760a13f5"}`: first 8 digits that name the key, then
/// 16 that are the same for equal values under the same key, and different for others (but for an accident of 1 in
/// 2⁶⁴). Under different keys nothing can be compared. A value has no hash, and is recorded as `{"$redacted": true}`,
/// if it takes more than 64 KiB, nests deeper than 64 levels, or fails to serialise; and on `wasm32-unknown-unknown`
/// unless a key was given, since there is nothing there to make one from. Maps are equal whatever their order; sets are
/// lists, whose order counts.
///
/// # Errors
///
/// If a key was given before, or a value redacted. The key is what it was.
///
/// # Examples
///
/// ```
/// let key = *b"not a good key !"; // in earnest from where secrets are kept
/// tracer::set_redaction_key(key)?;
/// # Ok::<(), tracer::RedactionKeyInUse>(())
/// ```
pub fn set_redaction_key(key: [u8; 16]) -> Result<(), RedactionKeyInUse> {
    KEY.set(Some(Key::new(key))).map_err(|_| RedactionKeyInUse)
}

/// A key, and the name by which it is told from others.
#[derive(Clone, Copy)]
pub(super) struct Key {
    fresh: SipHasher24,
    name: u32,
}

impl Key {
    pub(super) fn new(key: [u8; 16]) -> Self {
        let fresh = SipHasher24::new_with_key(&key);
        let mut named = fresh;
        // More than one value, so the hash of none.
        named.write(b"name of the key");
        Self { fresh, name: high_half(named.finish()) }
    }

    fn of_process() -> Option<Self> {
        *KEY.get_or_init(|| Self::random().map(Self::new))
    }

    /// From what the standard library seeds its maps with: the system's random numbers.
    fn random() -> Option<[u8; 16]> {
        if cfg!(all(target_family = "wasm", target_os = "unknown")) {
            return None;
        }
        let half = || RandomState::new().hash_one(()).to_le_bytes();
        let (low, high) = (half(), half());
        Some(std::array::from_fn(|at| if at < 8 { low[at] } else { high[at - 8] }))
    }
}

/// Says nothing of the key.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

const fn high_half(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Takes the bytes of one value instead of a buffer.
#[derive(Debug)]
pub(super) struct Digest {
    key: Key,
    hasher: SipHasher24,
    room: usize,
    /// All of the value was taken so far.
    is_whole: bool,
    maps: Vec<OpenMap>,
}

/// A map of which entries are being taken, each by itself, and added: their order does not count.
#[derive(Debug)]
struct OpenMap {
    around: SipHasher24,
    sum: u64,
}

impl Digest {
    /// With the key of the process, if it has one.
    pub(super) fn begin() -> Option<Box<Self>> {
        Key::of_process().map(Self::with)
    }

    pub(super) fn with(key: Key) -> Box<Self> {
        Box::new(Self { key, hasher: key.fresh, room: BYTES_MAX, is_whole: true, maps: Vec::new() })
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        match self.room.checked_sub(bytes.len()) {
            Some(room) => self.room = room,
            None => self.spoil(),
        }
        if self.is_whole {
            self.hasher.write(bytes);
        }
    }

    /// Something of the value is left out.
    pub(super) fn spoil(&mut self) {
        self.is_whole = false;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn begin_map(&mut self) {
        let around = std::mem::replace(&mut self.hasher, self.key.fresh);
        self.maps.push(OpenMap { around, sum: 0 });
    }

    pub(super) fn end_entry(&mut self) {
        let entry = std::mem::replace(&mut self.hasher, self.key.fresh).finish();
        if let Some(map) = self.maps.last_mut() {
            map.sum = map.sum.wrapping_add(entry);
        }
    }

    pub(super) fn end_map(&mut self) {
        if let Some(map) = self.maps.pop() {
            self.hasher = map.around;
            self.take(&map.sum.to_le_bytes());
        }
        self.take(&[END]);
    }

    pub(super) fn end_array(&mut self) {
        self.take(&[END]);
    }

    /// The hash as text; `None`: something of the value was left out.
    pub(super) fn finish(self) -> Option<String> {
        self.is_whole.then(|| format!("{:08x}-{:016x}", self.key.name, self.hasher.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: [u8; 16], bytes: &[u8]) -> String {
        let mut digest = Digest::with(Key::new(key));
        digest.take(bytes);
        digest.finish().unwrap()
    }

    /// The same everywhere and for ever: what was recorded last year is compared with it.
    #[test]
    fn a_key_gives_the_same_hashes_everywhere() {
        let key = std::array::from_fn(|at| u8::try_from(at).unwrap());
        // The last is a vector of the paper, <https://www.aumasson.jp/siphash/siphash.pdf>, appendix A.
        let paper: Vec<u8> = (0..15).collect();
        assert_eq!(hash(key, &paper), "7da21ea3-a129ca6149be45e5");
    }

    #[test]
    fn another_key_gives_other_hashes_and_another_name() {
        let (one, other) = (hash([1; 16], b"hunter2"), hash([2; 16], b"hunter2"));
        assert_eq!(one, hash([1; 16], b"hunter2"));
        assert_ne!(one[..8], other[..8]);
        assert_ne!(one[9..], other[9..]);
    }

    #[test]
    fn processes_take_keys_of_their_own() {
        let (one, other) = (Key::random().unwrap(), Key::random().unwrap());
        assert_ne!(one[..8], one[8..]);
        assert_ne!(one, other);
    }

    #[test]
    fn a_key_is_given_once_and_before_it_is_needed() {
        assert!(Digest::begin().is_some());
        assert_eq!(set_redaction_key([0; 16]), Err(RedactionKeyInUse));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key::new([0x4d; 16])), "Key { .. }");
    }
}
