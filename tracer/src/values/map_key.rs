//! Keys of maps as text, as JSON wants them.

use serde::Serialize;
use serde::ser::{self, Impossible};

use super::encode::Stop;

/// Takes a key as text.
#[derive(Default)]
pub(super) struct MapKey {
    /// How many newtypes and `Some`s are around it.
    wrappers: usize,
}

impl MapKey {
    fn unwrapped<T: Serialize + ?Sized>(self, value: &T) -> Text {
        if self.wrappers >= DEPTH_MAX {
            return Err(Stop::because("a map key nests too deep"));
        }
        value.serialize(Self { wrappers: self.wrappers + 1 })
    }
}

/// Deeper than any honest key.
const DEPTH_MAX: usize = 64;

type Text = Result<String, Stop>;

macro_rules! key_texts {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, v: $type) -> Text {
            Ok(v.to_string())
        }
    )*};
}

impl ser::Serializer for MapKey {
    type Ok = String;
    type Error = Stop;
    type SerializeSeq = Impossible<String, Stop>;
    type SerializeTuple = Impossible<String, Stop>;
    type SerializeTupleStruct = Impossible<String, Stop>;
    type SerializeTupleVariant = Impossible<String, Stop>;
    type SerializeMap = Impossible<String, Stop>;
    type SerializeStruct = Impossible<String, Stop>;
    type SerializeStructVariant = Impossible<String, Stop>;

    key_texts! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
    }

    fn serialize_bytes(self, v: &[u8]) -> Text {
        Ok(String::from_utf8_lossy(v).into_owned())
    }

    fn serialize_none(self) -> Text {
        Ok("null".to_owned())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Text {
        self.unwrapped(value)
    }

    fn serialize_unit(self) -> Text {
        Ok("null".to_owned())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Text {
        Ok(name.to_owned())
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Text {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Text {
        self.unwrapped(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Text {
        Ok(format!("{variant}({})", self.unwrapped(value)?))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, Stop> {
        Err(composite_key())
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, Stop> {
        Err(composite_key())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Stop> {
        Err(composite_key())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Stop> {
        Err(composite_key())
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, Stop> {
        Err(composite_key())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Stop> {
        Err(composite_key())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Stop> {
        Err(composite_key())
    }
}

fn composite_key() -> Stop {
    Stop::because("a map key must be a text, a number or a unit variant, found a composite")
}
