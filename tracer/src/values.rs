//! Values that a node records.

use serde::Serialize;

use crate::site::Site;

/// Values taken for a step; nothing when recording is off or the node records none.
#[derive(Debug, Default)]
pub struct Recorded(Option<Box<[u8]>>);

impl Recorded {
    /// No values.
    pub const fn none() -> Self {
        Self(None)
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// Takes the values of one step, by name.
#[derive(Debug)]
pub struct Values {
    site: &'static Site,
}

impl Values {
    /// Records `value` as `name`.
    pub fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        let _ = (name, value, self.site);
    }
}

/// Runs `fill` if recording is on.
pub fn values(site: &'static Site, fill: impl FnOnce(&mut Values)) -> Recorded {
    fill(&mut Values { site });
    Recorded::none()
}
