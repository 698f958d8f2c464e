//! A detail as bytes, for a file: what does not fit into an entry, and is to be read by another version.
//!
//! One byte says the version, four the length of all that follows, and fields follow: a tag, the length in four bytes,
//! the content. A reader skips tags that it does not know. What was cut at its end reads as what is there.

use std::sync::Arc;

use super::page::PART_BYTES;
use super::{Captured, Detail, Preview};
use crate::id::TraceId;
use crate::outcome::Failure;

const VERSION: u8 = 1;
const HEAD_LEN: usize = 5;

const NODE: u8 = 1;
const TRACE: u8 = 2;
const SOURCE: u8 = 3;
const FAILURE_TYPE: u8 = 4;
const FAILURE_MESSAGE: u8 = 5;
const FAILURE_CAUSE: u8 = 6;
const META: u8 = 7;
const VALUES: u8 = 8;
/// With the tag of a value: part of it was left out already when it was taken.
const TRUNCATED: u8 = 0x80;

/// Appends a field: its tag, its length, its content.
pub fn put_field(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    let content = content.get(..u32::MAX as usize).unwrap_or(content);
    bytes.push(tag);
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(content);
}

/// Appends a detail with the fields that `put` appends.
fn put_fields(bytes: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    put(bytes);
    let len = u32::try_from(bytes.len() - start - HEAD_LEN).unwrap_or(u32::MAX);
    bytes[start + 1..start + HEAD_LEN].copy_from_slice(&len.to_le_bytes());
}

fn put_trace(bytes: &mut Vec<u8>, trace: TraceId, source: &str) {
    put_field(bytes, TRACE, &trace.get().to_le_bytes());
    put_field(bytes, SOURCE, source.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, tag: u8, value: &Captured) {
    put_field(bytes, tag | if value.is_truncated() { TRUNCATED } else { 0 }, value.as_bytes());
}

/// Appends the detail of the first env of a trace, which has a payload that was encoded elsewhere.
pub(crate) fn put_root(bytes: &mut Vec<u8>, trace: TraceId, source: &str, payload: &[u8]) {
    put_fields(bytes, |bytes| {
        put_trace(bytes, trace, source);
        put_field(bytes, META, payload);
    });
}

/// What stands before the values of a detail that has nothing else.
pub(crate) const VALUES_HEAD_LEN: usize = HEAD_LEN + 5;

/// The head of a detail of `len` bytes of values.
pub(crate) fn values_head(len: usize, truncated: bool) -> [u8; VALUES_HEAD_LEN] {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let mut head = [VERSION; VALUES_HEAD_LEN];
    head[1..HEAD_LEN].copy_from_slice(&(len + 5).to_le_bytes());
    head[HEAD_LEN] = VALUES | if truncated { TRUNCATED } else { 0 };
    head[HEAD_LEN + 1..].copy_from_slice(&len.to_le_bytes());
    head
}

/// The bytes of a detail, with a slot of zeroes behind them: so they are read in pieces of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Padded<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Padded<'a> {
    /// How many zeroes there are, at least.
    pub(crate) const ZEROES: usize = PART_BYTES;

    /// The first `len` of `bytes`, behind which there are so many zeroes.
    pub(crate) fn new(bytes: &'a [u8], len: usize) -> Self {
        debug_assert!(bytes.len() >= len + Self::ZEROES, "{} for {len}", bytes.len());
        Self { bytes, len }
    }

    pub(crate) const fn len(self) -> usize {
        self.len
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        &self.bytes[..self.len]
    }

    /// A piece that begins at a place in it, or behind it.
    #[inline]
    pub(crate) fn from(self, at: usize) -> &'a [u8; PART_BYTES] {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; PART_BYTES])
    }

    /// The beginning of the values of a detail that has [nothing else](values_head).
    #[inline]
    pub(crate) fn preview(self) -> Option<Preview> {
        let (head, values) = self.bytes.split_at_checked(VALUES_HEAD_LEN)?;
        let is_truncated = head[HEAD_LEN] & TRUNCATED != 0;
        Some(Preview::of_first(values.first_chunk()?, self.len.checked_sub(VALUES_HEAD_LEN)?, is_truncated))
    }
}

/// Takes fields apart. Trusts no length.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// A field of [`Fields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is.
    pub tag: u8,
    /// What it says, as far as it is there.
    pub content: &'a [u8],
    /// Its end is missing.
    pub cut: bool,
}

impl<'a> Fields<'a> {
    /// Those of bytes that [`put_field`] wrote.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (&tag, rest) = self.rest.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (content, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        self.rest = rest;
        Some(Field { tag, content, cut: content.len() < len })
    }
}

impl Detail {
    /// Appends it as bytes. Values come last: they are what is cut where there is no room.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        put_fields(bytes, |bytes| self.put_fields(bytes));
    }

    fn put_fields(&self, bytes: &mut Vec<u8>) {
        if let Some(node) = &self.node {
            put_field(bytes, NODE, node.as_bytes());
        }
        if let Some((trace, source)) = &self.trace {
            put_trace(bytes, *trace, source);
        }
        if let Some(failure) = &self.failure {
            put_field(bytes, FAILURE_TYPE, failure.type_name.as_bytes());
            if let Some(message) = &failure.message {
                put_field(bytes, FAILURE_MESSAGE, message.as_bytes());
            }
            for cause in &failure.chain {
                put_field(bytes, FAILURE_CAUSE, cause.as_bytes());
            }
        }
        for (tag, value) in [(META, &self.meta), (VALUES, &self.values)] {
            if let Some(value) = value {
                put_value(bytes, tag, value);
            }
        }
    }

    /// Reads what [`write_to`](Self::write_to) wrote, maybe cut at its end. `None`: it is of another version, or not
    /// the beginning of a detail.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&[version, len @ ..], fields) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let len = usize::try_from(u32::from_le_bytes(len)).ok()?;
        if version != VERSION || fields.len() > len {
            return None;
        }
        let mut detail = Self::default();
        let mut id = None;
        for Field { tag, content, cut } in Fields::new(fields) {
            match tag & !TRUNCATED {
                NODE => detail.node = Some(text(content, cut).into()),
                TRACE => id = content.try_into().ok().map(u128::from_le_bytes).and_then(TraceId::new),
                SOURCE => detail.trace = id.map(|id| (id, Arc::from(text(content, cut)))),
                FAILURE_TYPE => detail.failure().type_name = text(content, cut).into(),
                FAILURE_MESSAGE => detail.failure().message = Some(text(content, cut)),
                FAILURE_CAUSE => detail.failure().chain.push(text(content, cut)),
                META => detail.meta = Some(Captured::of(content.to_vec(), cut || tag & TRUNCATED != 0)),
                VALUES => detail.values = Some(Captured::of(content.to_vec(), cut || tag & TRUNCATED != 0)),
                // Of a later version.
                _ => {}
            }
        }
        if fields.len() < len && detail.values.is_none() {
            // Cut before them, or before something else of that size: say that something is missing.
            detail.values = Some(Captured::of(Vec::new(), true));
        }
        Some(detail)
    }

    fn failure(&mut self) -> &mut Failure {
        self.failure.get_or_insert_default()
    }

    /// Recorded arguments or result as JSON, and whether part of them was left out.
    pub fn values(&self) -> Option<(serde_json::Value, bool)> {
        self.values.as_ref().map(|values| (values.to_json(), values.is_truncated()))
    }

    /// What a step by hand was given, likewise.
    pub fn meta(&self) -> Option<(serde_json::Value, bool)> {
        self.meta.as_ref().map(|meta| (meta.to_json(), meta.is_truncated()))
    }

    /// The beginning of the recorded values.
    pub(crate) fn preview(&self) -> Option<Preview> {
        self.values.as_ref().map(|values| Preview::of(values.as_bytes(), values.is_truncated()))
    }

    /// Whether it says how a call failed.
    pub fn has_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// The trace that it names.
    pub fn trace(&self) -> Option<TraceId> {
        self.trace.as_ref().map(|(trace, _)| *trace)
    }

    /// The name of the node, where no site has it.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

fn text(content: &[u8], cut: bool) -> String {
    let mut text = String::from_utf8_lossy(content).into_owned();
    if cut {
        text.push('…');
    }
    text
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::random::AnyRandom;
    use crate::values::Limits;

    fn detail() -> Detail {
        Detail {
            node: Some("node".into()),
            trace: Some((TraceId::random(&AnyRandom::System), "source".into())),
            meta: Captured::one(&7, Limits::default()),
            values: Captured::one(&vec!["some text"; 20], Limits::default()),
            failure: Some(Failure {
                type_name: "crate::Type".into(),
                message: Some("said".to_owned()),
                chain: vec!["because".to_owned(), String::new()],
            }),
        }
    }

    #[test]
    fn a_detail_reads_back_what_was_written() {
        let (detail, mut bytes) = (detail(), Vec::new());
        detail.write_to(&mut bytes);
        assert_eq!(format!("{:?}", Detail::read(&bytes).unwrap()), format!("{detail:?}"));
    }

    #[test]
    fn the_detail_of_a_first_env_is_written_as_any_other() {
        let Detail { trace: Some((trace, source)), meta: Some(payload), .. } = detail() else { unreachable!() };
        let mut bytes = Vec::new();
        put_root(&mut bytes, trace, &source, payload.as_bytes());
        let expected = Detail { trace: Some((trace, source)), meta: Some(payload), ..Detail::default() };
        assert_eq!(format!("{:?}", Detail::read(&bytes).unwrap()), format!("{expected:?}"));
    }

    #[test]
    fn a_detail_that_was_cut_says_so_and_keeps_its_beginning() {
        let (detail, mut bytes) = (detail(), Vec::new());
        detail.write_to(&mut bytes);
        for len in 0..bytes.len() {
            let Some(read) = Detail::read(&bytes[..len]) else {
                assert!(len < HEAD_LEN, "{len}");
                continue;
            };
            assert!(read.values.as_ref().is_some_and(Captured::is_truncated), "cut at {len}: {read:?}");
        }
        let read = Detail::read(&bytes[..bytes.len() - 7]).unwrap();
        assert_eq!(read.values().unwrap().0[18], "some text");
    }

    #[test]
    fn what_is_no_detail_is_refused_and_what_is_unknown_is_skipped() {
        let (detail, mut bytes) = (detail(), Vec::new());
        detail.write_to(&mut bytes);
        let longer = [&bytes[..], &[0]].concat();
        assert!(Detail::read(&longer).is_none(), "more than it says");
        bytes[0] = 2;
        assert!(Detail::read(&bytes).is_none(), "another version");
        let mut later = vec![1, 0, 0, 0, 0];
        put_field(&mut later, 99, b"of a later version");
        put_field(&mut later, NODE, b"node");
        later[1] = u8::try_from(later.len() - HEAD_LEN).unwrap();
        assert_eq!(Detail::read(&later).unwrap().node(), Some("node"));
    }
}
