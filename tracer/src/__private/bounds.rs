//! Bounds that options ask for, and a name for any return type.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::values::Values;

/// Names a return type that has no name of its own: `<fn() -> ! as Returns>::Value`.
pub trait Returns {
    /// What it returns.
    type Value;
}

impl<R> Returns for fn() -> R {
    type Value = R;
}

/// An argument that `tracer rerun` can write down and make again.
#[diagnostic::on_unimplemented(
    message = "an `entry` is called again with recorded arguments: `{Self}` needs `serde::Serialize` and \
               `serde::Deserialize`",
    label = "cannot be written down and made again",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait EntryArgument {
    /// Records it as `name`.
    fn record(&self, name: &'static str, values: &mut Values);
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> EntryArgument for T {
    fn record(&self, name: &'static str, values: &mut Values) {
        values.field(name, self);
    }
}

/// A result that `tracer rerun` can compare with the recorded one.
#[diagnostic::on_unimplemented(
    message = "the result of an `entry` is compared with the recorded one: `{Self}` needs `serde::Serialize` and \
               `serde::Deserialize`",
    label = "cannot be written down and read back",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait EntryOutput {
    /// Records it as `ret`.
    fn record(&self, values: &mut Values);
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> EntryOutput for T {
    fn record(&self, values: &mut Values) {
        values.field("ret", self);
    }
}

/// A result that stands in for running an effect again.
#[diagnostic::on_unimplemented(
    message = "an `effect` is not run again but answered from the record: `{Self}` needs `serde::Serialize` and \
               `serde::Deserialize`",
    label = "cannot be written down and made again",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait EffectOutput {
    /// Records it as `ret`.
    fn record(&self, values: &mut Values);
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> EffectOutput for T {
    fn record(&self, values: &mut Values) {
        values.field("ret", self);
    }
}
