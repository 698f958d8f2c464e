//! `MessagePack` to JSON. Trusts no length: what is not there reads as null.

use serde_json::{Map, Number, Value};

/// Reads the first value of `bytes`.
pub(super) fn value(bytes: &[u8]) -> Value {
    Reader { rest: bytes }.value(0).unwrap_or(Value::Null)
}

/// Where the value ends that begins at a place in what the writer has made.
pub(super) fn end_of(bytes: &[u8], at: usize) -> Option<usize> {
    let mut reader = Reader { rest: bytes.get(at..)? };
    let mut left: usize = 1;
    while left > 0 {
        left -= 1;
        let (len, inside) = match reader.len(1)? {
            0x81 => (0, 2),
            tag @ 0xa0..=0xbf => (tag & 0x1f, 0),
            0xc6 | 0xdb => (reader.len(4)?, 0),
            0xca | 0xce => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd9 => (reader.len(1)?, 0),
            0xdd => (0, reader.len(4)?),
            0xdf => (0, reader.len(4)?.saturating_mul(2)),
            _ => (0, 0),
        };
        reader.take(len)?;
        left = left.saturating_add(inside);
    }
    Some(bytes.len() - reader.rest.len())
}

/// Deeper than anything the writer makes.
const DEPTH_MAX: usize = 200;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn len(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.number(width)?).ok()
    }

    /// A text whose end is missing is what there is of it.
    fn text(&mut self, len: usize) -> Option<Value> {
        let len = if self.rest.is_empty() { len } else { len.min(self.rest.len()) };
        Some(Value::String(String::from_utf8_lossy(self.take(len)?).into_owned()))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "reads bits as they were written")]
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        Some(match self.number(1)? as u8 {
            tag @ 0x00..=0x7f => tag.into(),
            tag @ 0x80..=0x8f => self.map(usize::from(tag & 0x0f), depth),
            tag @ 0x90..=0x9f => self.array(usize::from(tag & 0x0f), depth),
            tag @ 0xa0..=0xbf => self.text(usize::from(tag & 0x1f))?,
            0xc2 => false.into(),
            0xc3 => true.into(),
            0xc4 => self.bytes(1)?,
            0xc5 => self.bytes(2)?,
            0xc6 => self.bytes(4)?,
            0xca => float32(f32::from_bits(self.number(4)? as u32)),
            0xcb => f64::from_bits(self.number(8)?).into(),
            0xcc => self.number(1)?.into(),
            0xcd => self.number(2)?.into(),
            0xce => self.number(4)?.into(),
            0xcf => self.number(8)?.into(),
            0xd0 => (self.number(1)? as i8).into(),
            0xd1 => (self.number(2)? as i16).into(),
            0xd2 => (self.number(4)? as i32).into(),
            0xd3 => (self.number(8)? as i64).into(),
            0xd9 => self.len(1).and_then(|len| self.text(len))?,
            0xda => self.len(2).and_then(|len| self.text(len))?,
            0xdb => self.len(4).and_then(|len| self.text(len))?,
            0xdc => self.len(2).map(|len| self.array(len, depth))?,
            0xdd => self.len(4).map(|len| self.array(len, depth))?,
            0xde => self.len(2).map(|len| self.map(len, depth))?,
            0xdf => self.len(4).map(|len| self.map(len, depth))?,
            tag @ 0xe0..=0xff => (tag as i8).into(),
            _ => Value::Null,
        })
    }

    fn bytes(&mut self, width: usize) -> Option<Value> {
        let len = self.len(width)?;
        Some(Value::Array(self.take(len)?.iter().map(|byte| Value::from(*byte)).collect()))
    }

    fn array(&mut self, len: usize, depth: usize) -> Value {
        let mut items = Vec::new();
        for _ in 0..len {
            let Some(item) = self.value(depth + 1) else { break };
            items.push(item);
        }
        Value::Array(items)
    }

    fn map(&mut self, len: usize, depth: usize) -> Value {
        let mut entries = Map::new();
        for _ in 0..len {
            let Some(Value::String(name)) = self.value(depth + 1) else { break };
            // A name without anything behind it may not be whole either.
            let Some(value) = self.value(depth + 1) else { break };
            entries.insert(name, value);
        }
        Value::Object(entries)
    }
}

/// The shortest decimal that reads back as this `f32`, not the digits of its widened value.
fn float32(number: f32) -> Value {
    let shortest: f64 = number.to_string().parse().unwrap_or(f64::NAN);
    Number::from_f64(shortest).map_or(Value::Null, Value::Number)
}
