//! The values of one step, by name.

use serde::Serialize;

use super::super::name::Names;
use super::super::redact::{Path, Paths};
use super::{Limits, MAP, OPEN_LEN, Open, Writer};
use crate::recorder::{Padded, VALUES_HEAD_LEN, values_head};

/// A writer of named values, used again and again: the bytes of a detail that is nothing but values.
#[derive(Debug)]
pub(in crate::values) struct Fields {
    writer: Writer,
    open: Open,
    /// Whether there was no room for one.
    lacks_some: bool,
    /// How many bytes there are before the zeroes, once they are complete.
    len: usize,
}

/// What becomes of a value, now that its name is written.
enum Named {
    /// It is written, from this path on.
    At(Path),
    Redacted,
    /// Not even the name was.
    NoRoom,
}

/// The head of a detail of `len` bytes, and the beginning of its map.
#[inline]
#[expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]
fn head_of(len: usize, truncated: bool, count: u32) -> [u8; FIELDS_AT] {
    let mut head = [MAP; FIELDS_AT];
    head[..VALUES_HEAD_LEN].copy_from_slice(&values_head(len - VALUES_HEAD_LEN, truncated));
    head[LENGTH_AT..].copy_from_slice(&count.to_be_bytes());
    head
}

/// Where the length of the map stands, and the first name behind it.
const LENGTH_AT: usize = VALUES_HEAD_LEN + 1;
const FIELDS_AT: usize = VALUES_HEAD_LEN + OPEN_LEN;

impl Fields {
    /// To [begin](Self::begin) with.
    pub(in crate::values) fn new() -> Self {
        let limits = Limits::default();
        let writer = Writer::new(Limits { bytes: VALUES_HEAD_LEN + limits.bytes, ..limits });
        Self { writer, open: Open::at(0), lacks_some: false, len: 0 }
    }

    /// Begins anew.
    #[inline]
    pub(in crate::values) fn begin(&mut self, redacted: Paths) {
        let writer = &mut self.writer;
        debug_assert!(!writer.owes_value && writer.secret.is_none(), "a value was left unfinished");
        writer.out.clear();
        writer.out.extend_from_slice(&[0; FIELDS_AT]);
        (writer.truncated, writer.cut_at) = (false, 0);
        writer.redacted = redacted;
        writer.names.get_or_insert_with(Names::take);
        (self.open, self.lacks_some) = (Open::at(LENGTH_AT), false);
    }

    /// Writes one named value.
    pub(in crate::values) fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        match self.name(name) {
            Named::At(path) => self.writer.value(path, value),
            Named::Redacted => self.writer.redact(0, value),
            Named::NoRoom => {}
        }
    }

    #[inline(never)]
    fn name(&mut self, name: &'static str) -> Named {
        if self.writer.redacted.is_empty() && self.writer.plain(name) {
            self.open.count += 1;
            return Named::At(Path::root());
        }
        self.unusual_name(name)
    }

    #[inline(never)]
    fn unusual_name(&mut self, name: &'static str) -> Named {
        let writer = &mut self.writer;
        if writer.is_full() {
            (writer.truncated, self.lacks_some) = (true, true);
            return Named::NoRoom;
        }
        let name = writer.name_of(name);
        let path = Path::root().into_field(writer.redacted, name);
        writer.begin_entry(&mut self.open, name, path).map_or(Named::Redacted, Named::At)
    }

    /// Completes the bytes.
    pub(in crate::values) fn end(&mut self) {
        let writer = &mut self.writer;
        if self.open.is_in_doubt() {
            writer.decide(&self.open, !self.lacks_some);
        }
        self.len = writer.out.len();
        if let Some(head) = writer.out.first_chunk_mut() {
            *head = head_of(self.len, writer.truncated, self.open.count);
        }
        writer.out.extend_from_slice(&[0; Padded::ZEROES]);
    }

    /// The bytes, once they are [complete](Self::end).
    #[inline]
    pub(in crate::values) fn as_bytes(&self) -> Padded<'_> {
        Padded::new(&self.writer.out, self.len)
    }

    /// Gives back what only writing takes.
    pub(in crate::values) fn rest(&mut self) {
        if let Some(names) = self.writer.names.take() {
            names.keep();
        }
    }

    /// Gives memory back if it takes more than so many bytes; what it holds then goes with it.
    pub(in crate::values) fn shrink(&mut self, capacity_max: usize) {
        if self.writer.out.capacity() > capacity_max {
            self.writer.out = Vec::new();
        }
    }
}
