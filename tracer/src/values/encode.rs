//! A serialiser into `MessagePack` that knows its bounds.
//!
//! It stops at a byte limit and at a depth, leaving a value that is complete as far as it goes: the 32-bit length of an
//! array or map is written when it ends, and when anything in it says that no more is taken.
//!
//! What is redacted goes the same way into a hash instead of the bytes: a second serialiser would be compiled once more
//! for every type that is recorded.

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::ser;

mod fields;
mod serializer;

use super::Captured;
use super::decode::end_of;
use super::digest::Digest;
use super::name::{Name, Names};
use super::redact::{Path, Paths, depends_on_pair, is_secret, is_strict, names_pair};
pub(super) use fields::Fields;
use serializer::{At, Serializer};

pub(super) const NIL: u8 = 0xc0;
const TRUE: u8 = 0xc3;
const MAP: u8 = 0xdf;

/// So many values of one map may be in doubt: one for each [name](depends_on_pair) of such. What are more are secrets.
const IN_DOUBT: usize = 4;

/// More entries than this are no name and its value.
const PAIR_ENTRIES_MAX: usize = 64;

/// Room for the arguments of most functions at once.
const LEN_USUAL: usize = 256;

/// What an array or a map begins with: what it is, and its length.
const OPEN_LEN: usize = 5;

/// How much of a value is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one step's values, encoded.
    pub(crate) bytes: usize,
    /// Levels of nesting.
    pub(crate) depth: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 * 1024, depth: 64 }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    out: Vec<u8>,
    limits: Limits,
    /// A map key is written, its value is not.
    owes_value: bool,
    truncated: bool,
    /// Where the last text begins that was cut.
    cut_at: usize,
    redacted: Paths,
    names: Option<Box<Names>>,
    /// A redacted value is being taken: all goes here, and nothing of it is written.
    secret: Option<Box<Digest>>,
}

/// An array or map that is being written.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Where its 32-bit length stands.
    length_at: u32,
    count: u32,
    /// Where values begin that what comes beside them may say to be secrets; 0: there is none. The first is one that is a
    /// secret, too, if what comes beside it is not whole.
    in_doubt_at: [u32; IN_DOUBT],
}

impl Open {
    #[inline]
    fn at(length_at: usize) -> Self {
        Self { length_at: u32::try_from(length_at).unwrap_or(u32::MAX), count: 0, in_doubt_at: [0; IN_DOUBT] }
    }

    #[inline]
    fn is_in_doubt(&self) -> bool {
        self.in_doubt_at != [0; IN_DOUBT]
    }

    /// Where its first element, or key, begins.
    fn first_at(&self) -> usize {
        usize::try_from(self.length_at).map_or(usize::MAX, |at| at.saturating_add(4))
    }
}

/// Why serialising stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The byte limit is reached: what is written so far is the result.
    Full,
    /// The value's own `Serialize` failed.
    #[expect(clippy::box_collection, reason = "one word: it is given back from everywhere")]
    Failed(Box<String>),
}

type Written = Result<(), Stop>;

impl Stop {
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self::Failed(Box::new(why.into()))
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("the value is larger than the limit"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        let mut text = message.to_string();
        if text.len() > 256 {
            text.truncate(text.floor_char_boundary_at(256));
        }
        Self::because(text)
    }
}

/// `str::floor_char_boundary` came with Rust 1.91.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        (0..=at.min(self.len())).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

impl Writer {
    pub(super) fn new(limits: Limits) -> Self {
        let out = Vec::with_capacity(LEN_USUAL);
        Self { out, limits, owes_value: false, truncated: false, cut_at: 0, redacted: &[], names: None, secret: None }
    }

    pub(super) fn finish(self) -> Captured {
        Captured { bytes: self.out, truncated: self.truncated }
    }

    /// Writes one value whatever it does: cut if it is too large, its error if it fails.
    #[inline]
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, path: Path, value: &T) {
        let start = self.out.len();
        let serialised = catch_unwind(AssertUnwindSafe(|| value.serialize(Serializer::new(self, At::new(path, 0)))));
        match serialised {
            Ok(Ok(())) => {}
            Ok(Err(stop)) => self.stopped(start, stop),
            Err(_) => self.stopped(start, Stop::because("its Serialize panicked")),
        }
    }

    /// Says of the value that begins at `start` that it is not whole, and why.
    #[cold]
    #[inline(never)]
    fn stopped(&mut self, start: usize, stop: Stop) {
        let Stop::Failed(why) = stop else {
            self.truncated = true;
            if std::mem::take(&mut self.owes_value) || self.out.len() == start {
                self.out.push(NIL);
            }
            return;
        };
        self.out.truncate(start);
        (self.owes_value, self.secret) = (false, None);
        self.marker("$error", |writer| writer.text(&why));
    }

    /// One value inside another; `None`: it is to be redacted.
    fn nested<T: Serialize + ?Sized>(&mut self, path: Option<Path>, depth: u8, value: &T) -> Written {
        if let Some(path) = self.path_of(path) {
            return value.serialize(Serializer::new(self, At::new(path, depth)));
        }
        self.redact(depth, value);
        Ok(())
    }

    /// Inside of what is redacted, nothing is so once more.
    fn path_of(&self, path: Option<Path>) -> Option<Path> {
        path.or_else(|| self.secret.is_some().then(Path::root))
    }

    /// Writes what stands for a redacted value. Whatever the value does, it harms no other, and nothing of it is kept.
    #[inline(never)]
    fn redact<T: Serialize + ?Sized>(&mut self, depth: u8, value: &T) {
        self.begin_secret();
        self.take_secret(depth, value);
        self.end_secret();
    }

    fn begin_secret(&mut self) {
        self.secret = Digest::begin();
    }

    fn take_secret<T: Serialize + ?Sized>(&mut self, depth: u8, value: &T) {
        if !self.secret.as_ref().is_some_and(|digest| digest.is_whole()) {
            return;
        }
        let taken =
            catch_unwind(AssertUnwindSafe(|| value.serialize(Serializer::new(self, At::new(Path::root(), depth)))));
        self.owes_value = false;
        if !matches!(taken, Ok(Ok(()))) {
            self.spoil_secret();
        }
    }

    fn end_secret(&mut self) {
        let hash = self.secret.take().and_then(|digest| digest.finish());
        self.marker("$redacted", |writer| match hash {
            Some(hash) => writer.text(&hash),
            None => writer.out.push(TRUE),
        });
    }

    fn spoil_secret(&mut self) {
        if let Some(digest) = &mut self.secret {
            digest.spoil();
        }
    }

    /// `{name: …}`: something said about a value instead of the value.
    fn marker(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.out.push(0x81);
        self.text(name);
        content(self);
    }

    fn too_deep(&mut self) {
        if self.secret.is_some() {
            self.spoil_secret();
        } else {
            self.truncated = true;
            self.text("…");
        }
    }

    fn is_full(&self) -> bool {
        match &self.secret {
            None => self.out.len() >= self.limits.bytes,
            Some(digest) => !digest.is_whole(),
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.extend_short([byte], 1);
    }

    #[inline(never)]
    fn extend(&mut self, bytes: &[u8]) {
        match &mut self.secret {
            None => self.out.extend_from_slice(bytes),
            Some(digest) => digest.take(bytes),
        }
    }

    /// The first `len` of some bytes: all of them are copied, which needs no look at how many.
    #[inline]
    fn extend_short<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        if self.secret.is_some() || self.out.capacity() - self.out.len() < N {
            return self.extend(&bytes[..len]);
        }
        let end = self.out.len() + len;
        self.out.extend_from_slice(&bytes);
        self.out.truncate(end);
    }

    /// How many of `len` bytes are still kept. A secret is taken whole or not at all.
    fn room(&self, len: usize) -> usize {
        match &self.secret {
            None => self.limits.bytes.saturating_sub(self.out.len()),
            Some(_) => len,
        }
    }

    fn full(&self) -> Result<(), Stop> {
        if self.is_full() { Err(Stop::Full) } else { Ok(()) }
    }

    /// Whether nothing is redacted of which the name does not say so.
    fn is_plain(&self) -> bool {
        self.secret.is_none() && self.redacted.is_empty()
    }

    /// Opens a map if it [is plain](Self::is_plain) and needs no more memory.
    // Calls nothing, so that whoever calls it has nothing to save.
    #[inline]
    fn open_plain_map(&mut self) -> Option<Open> {
        let has_room = self.out.capacity() - self.out.len() >= OPEN_LEN;
        (has_room && self.is_plain()).then(|| self.open_as(MAP))
    }

    fn open_array(&mut self) -> Open {
        self.open_as(0xdd)
    }

    fn open_map(&mut self) -> Open {
        let open = self.open_as(MAP);
        if let Some(digest) = &mut self.secret {
            digest.begin_map();
        }
        open
    }

    #[inline]
    fn open_as(&mut self, tag: u8) -> Open {
        if self.secret.is_none() {
            let mut head = [0; OPEN_LEN];
            head[0] = tag;
            self.out.extend_from_slice(&head);
        } else {
            self.push(tag);
        }
        Open::at(self.out.len().saturating_sub(4))
    }

    /// Writes how many elements there are. Of a secret the end is taken instead.
    #[expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]
    fn set_length(&mut self, open: &Open, is_whole: bool) {
        if self.secret.is_none() {
            if open.is_in_doubt() {
                self.decide(open, is_whole);
            }
            let at = usize::try_from(open.length_at).unwrap_or(usize::MAX);
            if let Some(length) = self.out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                *length = open.count.to_be_bytes();
            }
        }
    }

    fn name(&mut self, name: Name<'_>) {
        self.text(name.text);
    }

    fn name_of(&mut self, text: &'static str) -> Name<'static> {
        Name::of(text, self.names.as_deref_mut())
    }

    /// Writes the name of an entry, and gives the path of its value, unless another entry says that this is a secret:
    /// `{name: "authorization", value: …}`.
    fn begin_entry(&mut self, map: &mut Open, name: Name<'_>, path: Option<Path>) -> Option<Path> {
        let depends = path.is_some() && self.secret.is_none() && depends_on_pair(name.text);
        let places = if is_strict(name.text) { 0..1 } else { 1..IN_DOUBT };
        let place = places.into_iter().find(|place| depends && map.in_doubt_at[*place] == 0);
        let is_secret = depends && (place.is_none() || self.names_secret(map));
        let path = path.filter(|_| !is_secret);
        map.count += 1;
        self.name(name);
        if let (Some(place), true) = (place, path.is_some()) {
            map.in_doubt_at[place] = u32::try_from(self.out.len()).unwrap_or(0);
        }
        path
    }

    /// Whether one of the entries of a map says that a value beside it is a secret.
    fn names_secret(&self, map: &Open) -> bool {
        let mut at = Some(map.first_at());
        let entries = std::iter::from_fn(|| {
            let name_at = at?;
            let value_at = end_of(&self.out, name_at)?;
            at = end_of(&self.out, value_at);
            Some((name_at, value_at))
        });
        let count = usize::try_from(map.count).unwrap_or(usize::MAX);
        entries
            .take(count.min(PAIR_ENTRIES_MAX))
            .any(|(name_at, value_at)| self.text_at(name_at).is_some_and(names_pair) && self.is_secret_at(value_at))
    }

    /// Takes back what was in doubt, now that its map says that it is a secret, or is cut, so that it may have said so. Its
    /// hash cannot be made any more.
    #[cold]
    fn decide(&mut self, map: &Open, is_whole: bool) {
        let is_named = self.names_secret(map);
        let mut all = map.in_doubt_at.map(|at| (at, at == map.in_doubt_at[0]));
        // From the last to the first: what is taken back is of another length.
        all.sort_unstable_by_key(|(at, _)| Reverse(*at));
        for (from, is_strict) in all.into_iter().filter(|(at, _)| *at != 0) {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            if from >= self.out.len() {
                continue;
            }
            let to = end_of(&self.out, from).unwrap_or(self.out.len());
            if is_named || (is_strict && (!is_whole || self.cut_at >= to)) {
                let behind = self.out.split_off(to);
                self.out.truncate(from);
                self.marker("$redacted", |writer| writer.out.push(TRUE));
                self.out.extend_from_slice(&behind);
            }
        }
    }

    /// Whether the name of a secret was written there.
    fn is_secret_at(&self, at: usize) -> bool {
        self.text_at(at).is_some_and(is_secret)
    }

    /// The text that was written there, if it is as short as names are.
    fn text_at(&self, at: usize) -> Option<&str> {
        let (from, len) = match self.out.get(at..)? {
            [tag @ 0xa0..=0xbf, ..] => (at + 1, usize::from(tag & 0x1f)),
            [0xd9, len, ..] => (at + 2, usize::from(*len)),
            _ => return None,
        };
        std::str::from_utf8(self.out.get(from..from + len)?).ok()
    }

    /// Writes a name that is known to be no secret, outside of secrets. `false`: it is not, or there is no room for it;
    /// nothing was done.
    // Calls nothing, so that whoever calls it has nothing to save.
    #[inline]
    fn plain(&mut self, text: &'static str) -> bool {
        let end = self.out.len() + 1 + text.len();
        let Some(bytes) = self.names.as_ref().and_then(|names| names.plain(text)) else { return false };
        let has_room = end <= self.limits.bytes && self.out.capacity() - self.out.len() >= bytes.len();
        if has_room {
            // All that a name may have: that needs no look at how many there are.
            self.out.extend_from_slice(bytes);
            self.out.truncate(end);
        }
        has_room
    }

    /// Writes a text, cut to what still fits.
    fn text(&mut self, text: &str) {
        let end = self.out.len() + 1 + text.len();
        let has_room = end <= self.limits.bytes && end <= self.out.capacity();
        if text.len() < 32 && has_room && self.secret.is_none() {
            self.out.push(0xa0 | byte(text.len()));
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.any_text(text);
        }
    }

    #[inline(never)]
    fn any_text(&mut self, text: &str) {
        let room = self.room(text.len()).max(32);
        let cut = if text.len() > room {
            (self.truncated, self.cut_at) = (true, self.out.len());
            &text[..text.floor_char_boundary_at(room)]
        } else {
            text
        };
        match cut.len() {
            len @ 0..=31 => self.push(0xa0 | byte(len)),
            len @ 32..=255 => self.extend(&[0xd9, byte(len)]),
            len => self.sized(0xdb, len),
        }
        self.extend(cut.as_bytes());
    }

    /// A tag and a number of 32 bits.
    // In a register: bytes that are put together in memory take as long to read again as all the rest.
    #[inline]
    fn tagged_32(&mut self, tag: u8, number: u32) {
        let word = u64::from(tag) | (u64::from(number.swap_bytes()) << 8);
        self.extend_short(word.to_le_bytes(), 5);
    }

    /// A tag and a number of 64 bits.
    #[inline]
    fn tagged_64(&mut self, tag: u8, number: u64) {
        let word = u128::from(tag) | (u128::from(number.swap_bytes()) << 8);
        self.extend_short(word.to_le_bytes(), 9);
    }

    fn sized(&mut self, tag: u8, len: usize) {
        self.tagged_32(tag, u32::try_from(len).unwrap_or(u32::MAX));
    }

    fn unsigned(&mut self, number: u64) {
        match u32::try_from(number) {
            Ok(number @ 0..=0x7f) => self.push(number.to_le_bytes()[0]),
            Ok(number) => self.tagged_32(0xce, number),
            Err(_) => self.tagged_64(0xcf, number),
        }
    }

    fn signed(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => self.unsigned(number),
            Err(_) => self.tagged_64(0xd3, u64::from_le_bytes(number.to_le_bytes())),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "callers have matched the range")]
const fn byte(number: usize) -> u8 {
    number as u8
}
