//! What a worker is called.

use std::fmt;
use std::ops::Deref;
use std::str::from_utf8;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::InvalidInput;
use super::new::check_name;

/// The name that a worker gave. Each attempt carries several copies of it: a copy allocates nothing.
#[derive(Clone)]
pub struct WorkerName(Name);

/// Those that workers make for themselves are short. Threads that copy them share no count.
const SHORT_LEN_MAX: usize = 22;

#[derive(Clone)]
enum Name {
    Short { len: u8, bytes: [u8; SHORT_LEN_MAX] },
    Long(Arc<str>),
}

/// Whether a worker may be called so.
pub(super) fn check_worker(name: &str) -> Result<(), InvalidInput> {
    check_name("a worker's name", name)
}

impl WorkerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was made of a text.
            Name::Short { len, bytes } => from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default(),
            Name::Long(name) => name,
        }
    }
}

impl From<&str> for WorkerName {
    fn from(name: &str) -> Self {
        let mut bytes = [0; SHORT_LEN_MAX];
        Self(match (u8::try_from(name.len()), bytes.get_mut(..name.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(name.as_bytes());
                Name::Short { len, bytes }
            }
            _ => Name::Long(name.into()),
        })
    }
}

impl From<String> for WorkerName {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl Deref for WorkerName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for WorkerName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for WorkerName {}

impl PartialEq<str> for WorkerName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for WorkerName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for WorkerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for WorkerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_was_made_of_however_long() {
        assert_eq!(size_of::<Option<WorkerName>>(), size_of::<String>());
        for len in [0, 1, SHORT_LEN_MAX - 1, SHORT_LEN_MAX, SHORT_LEN_MAX + 1, 255, 256, 300] {
            for name in ["n".repeat(len), "ü".repeat(len / 2)] {
                let made = WorkerName::from(name.as_str());
                assert_eq!((made.as_str(), &*made.to_string()), (&*name, &*name));
                assert_eq!(format!("{made:?}"), format!("{name:?}"));
                let json = serde_json::to_value(&made).unwrap();
                assert_eq!(json, name.as_str());
                assert_eq!(serde_json::from_value::<WorkerName>(json).unwrap(), made);
                assert_ne!(made, *format!("{name}n"));
            }
        }
    }
}
