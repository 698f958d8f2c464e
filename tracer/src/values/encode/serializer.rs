//! What serde is given: it takes a value apart for the writer, and knows how deep it is and which paths are redacted.

use serde::Serialize;
use serde::ser;

use super::super::map_key::MapKey;
use super::super::name::Name;
use super::super::redact::Path;
use super::{MAP, NIL, Open, Stop, TRUE, Writer, Written};

pub(super) struct Serializer<'a> {
    writer: &'a mut Writer,
    at: At,
}

/// Where a value is: the bits of its path, above them how many arrays and maps are around it, and above these how many
/// newtypes and `Some`s are without an array or map between; eight bits each.
// One word, written as one: it is passed on with every value.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(u64);

impl At {
    const WRAPPERS: u32 = Path::BITS + u8::BITS;

    /// Directly inside of so many arrays and maps.
    #[inline]
    pub(super) const fn new(path: Path, depth: u8) -> Self {
        Self(path.bits() | ((depth as u64) << Path::BITS))
    }

    #[inline]
    fn path(self) -> Path {
        Path::of_bits(self.0)
    }

    #[inline]
    const fn depth(self) -> u8 {
        (self.0 >> Path::BITS).to_le_bytes()[0]
    }

    #[inline]
    const fn wrappers(self) -> u8 {
        (self.0 >> Self::WRAPPERS).to_le_bytes()[0]
    }

    /// Inside of one more newtype or `Some`.
    const fn wrapped(self) -> Self {
        Self(self.0 + (1 << Self::WRAPPERS))
    }

    /// At another path.
    const fn along(self, path: Path) -> Self {
        Self(path.bits() | (self.0 >> Path::BITS << Path::BITS))
    }
}

/// An array or map, taking its elements.
pub(super) struct Compound<'a> {
    writer: &'a mut Writer,
    /// Of its elements.
    at: At,
    open: OpenAs,
    /// The path of the value of the last map key; `None`: it is to be redacted.
    next: Option<Path>,
}

#[derive(Debug, Clone, Copy)]
enum OpenAs {
    Array(Open),
    /// Of two, the first of which may say that the other is a secret: `("authorization", …)`.
    Pair(Open),
    Map(Open),
    /// A map that is no part of a secret and that no path leads into.
    Plain(Open),
    /// Too deep: swallow everything.
    Nothing,
    /// The fields of a variant that is redacted as a whole.
    Secret,
}

/// What has become of the name of an entry.
enum Named {
    /// Written, and the value is, too, whatever it is.
    Plain,
    /// The value decides for itself.
    Otherwise,
    NoRoom,
}

impl<'a> Serializer<'a> {
    #[inline]
    pub(super) fn new(writer: &'a mut Writer, at: At) -> Self {
        Self { writer, at }
    }

    #[inline(never)]
    fn compound(self, map: bool) -> Compound<'a> {
        let at = At::new(self.at.path(), self.at.depth() + 1);
        if map && at.depth() <= self.writer.limits.depth {
            if let Some(open) = self.writer.open_plain_map() {
                return Compound { writer: self.writer, at, open: OpenAs::Plain(open), next: None };
            }
        }
        self.unusual_compound(map, at)
    }

    #[inline(never)]
    fn unusual_compound(self, map: bool, at: At) -> Compound<'a> {
        let open = if at.depth() > self.writer.limits.depth {
            self.writer.too_deep();
            OpenAs::Nothing
        } else if map && self.writer.is_plain() {
            OpenAs::Plain(self.writer.open_as(MAP))
        } else if map {
            OpenAs::Map(self.writer.open_map())
        } else {
            OpenAs::Array(self.writer.open_array())
        };
        Compound { writer: self.writer, at, open, next: None }
    }

    fn tuple(self, len: usize) -> Compound<'a> {
        let mut compound = self.compound(false);
        if let (OpenAs::Array(open), 2) = (compound.open, len) {
            compound.open = OpenAs::Pair(open);
        }
        compound
    }

    /// Goes into a wrapper that leaves no mark of its own, unless there are absurdly many inside each other.
    fn unwrapped<T: Serialize + ?Sized>(self, value: &T) -> Written {
        if self.at.wrappers() >= self.writer.limits.depth {
            self.writer.too_deep();
            return Ok(());
        }
        value.serialize(Self::new(self.writer, self.at.wrapped()))
    }

    /// `{variant: […]}` or `{variant: {…}}`. A variant is no field: paths pass through it.
    fn variant(self, name: Name<'_>, map: bool) -> Compound<'a> {
        self.writer.push(0x81);
        self.writer.name(name);
        if name.is_secret() && self.writer.secret.is_none() {
            self.writer.begin_secret();
            let at = At::new(self.at.path(), self.at.depth());
            return Compound { writer: self.writer, at, open: OpenAs::Secret, next: None };
        }
        self.compound(map)
    }
}

impl Compound<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        let written = self.write_element(value);
        self.unless_stopped(written)
    }

    fn write_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        match &mut self.open {
            OpenAs::Array(open) => {
                self.writer.full()?;
                let path = self.at.path().into_element(self.writer.redacted, open.count as usize);
                open.count += 1;
                self.writer.nested(path, self.at.depth(), value)?;
            }
            OpenAs::Pair(open) => {
                self.writer.full()?;
                let path = self.at.path().into_element(self.writer.redacted, open.count as usize);
                let is_secret =
                    open.count == 1 && self.writer.secret.is_none() && self.writer.is_secret_at(open.first_at());
                open.count += 1;
                self.writer.nested(path.filter(|_| !is_secret), self.at.depth(), value)?;
            }
            OpenAs::Secret => self.writer.take_secret(self.at.depth(), value),
            OpenAs::Map(_) | OpenAs::Plain(_) | OpenAs::Nothing => {}
        }
        Ok(())
    }

    #[inline]
    fn entry<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
        let written = match self.named(name) {
            Named::Plain => value.serialize(Serializer::new(self.writer, self.at)),
            Named::Otherwise => self.value(value),
            Named::NoRoom => Err(Stop::Full),
        };
        self.unless_stopped(written)
    }

    /// The name of an entry.
    // One answer for all cases, so that whoever calls it need not keep the name.
    #[inline(never)]
    fn named(&mut self, name: &'static str) -> Named {
        match &mut self.open {
            OpenAs::Plain(open) if self.writer.plain(name) => {
                open.count += 1;
                Named::Plain
            }
            _ => self.unusual_key(name),
        }
    }

    #[inline(never)]
    fn unusual_key(&mut self, name: &'static str) -> Named {
        let name = self.writer.name_of(name);
        match self.key(name, self.at.path().into_field(self.writer.redacted, name)) {
            Ok(()) => Named::Otherwise,
            Err(_) => Named::NoRoom,
        }
    }

    /// The name of an entry whose value goes on at `path`, or is redacted.
    fn key(&mut self, name: Name<'_>, path: Option<Path>) -> Written {
        let (OpenAs::Map(open) | OpenAs::Plain(open)) = &mut self.open else { return Ok(()) };
        self.writer.full()?;
        self.next = self.writer.begin_entry(open, name, path);
        self.writer.owes_value = true;
        Ok(())
    }

    #[inline(never)]
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        match self.open {
            OpenAs::Map(_) | OpenAs::Plain(_) => {
                self.writer.owes_value = false;
                let path = self.next.take();
                self.writer.nested(path, self.at.depth(), value)?;
                if let Some(digest) = &mut self.writer.secret {
                    digest.end_entry();
                }
            }
            OpenAs::Secret => self.writer.take_secret(self.at.depth(), value),
            OpenAs::Array(_) | OpenAs::Pair(_) | OpenAs::Nothing => {}
        }
        Ok(())
    }

    /// What was written last; if nothing comes after it, how much there is.
    #[inline]
    fn unless_stopped(&mut self, written: Written) -> Written {
        written.map_err(|stop| self.stopped(stop))
    }

    #[cold]
    #[inline(never)]
    fn stopped(&mut self, stop: Stop) -> Stop {
        self.set_length(false);
        stop
    }

    #[inline(never)]
    fn set_length(&mut self, is_whole: bool) {
        if let OpenAs::Array(open) | OpenAs::Pair(open) | OpenAs::Map(open) | OpenAs::Plain(open) = &self.open {
            self.writer.set_length(open, is_whole);
        }
    }

    fn finish(mut self) {
        self.set_length(true);
        match (self.open, &mut self.writer.secret) {
            (OpenAs::Secret, _) => self.writer.end_secret(),
            (OpenAs::Array(_) | OpenAs::Pair(_), Some(digest)) => digest.end_array(),
            (OpenAs::Map(_), Some(digest)) => digest.end_map(),
            _ => {}
        }
    }
}

macro_rules! integers {
    ($($method:ident($int:ty) => $write:ident;)*) => {$(
        fn $method(self, v: $int) -> Written {
            self.writer.$write(v.into());
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    integers! {
        serialize_i8(i8) => signed;
        serialize_i16(i16) => signed;
        serialize_i32(i32) => signed;
        serialize_i64(i64) => signed;
        serialize_u8(u8) => unsigned;
        serialize_u16(u16) => unsigned;
        serialize_u32(u32) => unsigned;
        serialize_u64(u64) => unsigned;
    }

    fn serialize_bool(self, v: bool) -> Written {
        self.writer.push(if v { TRUE } else { 0xc2 });
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Written {
        match i64::try_from(v) {
            Ok(v) => self.serialize_i64(v),
            Err(_) => self.collect_str(&v),
        }
    }

    fn serialize_u128(self, v: u128) -> Written {
        match u64::try_from(v) {
            Ok(v) => self.serialize_u64(v),
            Err(_) => self.collect_str(&v),
        }
    }

    fn serialize_f32(self, v: f32) -> Written {
        self.writer.tagged_32(0xca, v.to_bits());
        Ok(())
    }

    fn serialize_f64(self, v: f64) -> Written {
        self.writer.tagged_64(0xcb, v.to_bits());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Written {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Written {
        self.writer.text(v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Written {
        let room = self.writer.room(v.len());
        if v.len() > room {
            self.writer.truncated = true;
        }
        let kept = &v[..v.len().min(room)];
        self.writer.sized(0xc6, kept.len());
        self.writer.extend(kept);
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        self.unwrapped(value)
    }

    fn serialize_unit(self) -> Written {
        self.writer.push(NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Written {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Written {
        let is_secret = self.writer.name_of(name).is_secret();
        let path = self.at.path().into_element(self.writer.redacted, 0).filter(|_| !is_secret);
        match self.writer.path_of(path) {
            Some(path) => Self::new(self.writer, self.at.along(path)).unwrapped(value),
            None => self.writer.nested(None, self.at.depth(), value),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let mut map = self.compound(true);
        let variant = map.writer.name_of(variant);
        let path = (!variant.is_secret()).then_some(map.at.path());
        let written = map.key(variant, path).and_then(|()| map.value(value));
        map.unless_stopped(written)?;
        map.finish();
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Compound<'a>, Stop> {
        Ok(self.compound(false))
    }

    fn serialize_tuple(self, len: usize) -> Result<Compound<'a>, Stop> {
        Ok(self.tuple(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Compound<'a>, Stop> {
        Ok(self.tuple(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'a>, Stop> {
        let variant = self.writer.name_of(variant);
        Ok(self.variant(variant, false))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Compound<'a>, Stop> {
        Ok(self.compound(true))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Compound<'a>, Stop> {
        Ok(self.compound(true))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'a>, Stop> {
        let variant = self.writer.name_of(variant);
        Ok(self.variant(variant, true))
    }
}

macro_rules! elements {
    ($($trait:ident::$method:ident)*) => {$(
        impl ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = Stop;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                self.element(value)
            }

            fn end(self) -> Written {
                self.finish();
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! entries {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = Stop;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
                self.entry(name, value)
            }

            fn end(self) -> Written {
                self.finish();
                Ok(())
            }
        }
    )*};
}

entries! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        if matches!(self.open, OpenAs::Nothing) {
            return Ok(());
        }
        let name = key.serialize(MapKey::default())?;
        let name = Name::new(&name);
        let written = self.key(name, self.at.path().into_field(self.writer.redacted, name));
        self.unless_stopped(written)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        let written = self.value(value);
        self.unless_stopped(written)
    }

    fn end(self) -> Written {
        self.finish();
        Ok(())
    }
}
