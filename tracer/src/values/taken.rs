//! Values on their way from a call into its step: the bytes of a detail that is nothing but values, in a buffer that is
//! used again. So taking values allocates nothing in the steady state, and a common call writes them without a look at
//! them.

use std::cell::Cell;

use super::encode::Fields;
use super::redact::Paths;
use super::{Captured, Values};
use crate::recorder::{Detail, Padded};

/// Values taken for a step; nothing when recording is off or the node records none. One pointer.
#[derive(Debug, Default)]
pub struct Recorded(Option<Box<Values>>);

thread_local! {
    /// The buffer that waits for the next values. Others are made anew: of what a value's own `Serialize` calls, and of
    /// futures that wait for their first poll.
    static SPARE: Cell<Option<Box<Values>>> = const { Cell::new(None) };
}

/// How large a buffer may be that a thread keeps.
const SPARE_BYTES_MAX: usize = 4096;

impl Recorded {
    /// No values.
    pub const fn none() -> Self {
        Self(None)
    }

    /// What `fill` takes.
    pub(super) fn taken(redacted: Paths, fill: impl FnOnce(&mut Values)) -> Self {
        let mut values = begin(redacted);
        fill(&mut values);
        values.fields.end();
        Self(Some(values))
    }

    /// As the bytes of a detail; see [`Detail::read`].
    #[inline]
    pub(crate) fn as_bytes(&self) -> Option<Padded<'_>> {
        self.0.as_ref().map(|values| values.fields.as_bytes())
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// They may wait for long: all but them is there for others.
    // By value, and out of line: most calls have none, and what is looked at by reference lies in memory.
    #[inline]
    pub(crate) fn rested(self) -> Self {
        match self.0 {
            None => self,
            Some(_) => self.rest(),
        }
    }

    #[inline(never)]
    fn rest(mut self) -> Self {
        if let Some(values) = &mut self.0 {
            values.fields.rest();
        }
        self
    }

    /// As the detail of the step that carries them.
    pub(crate) fn into_detail(self) -> Option<Box<Detail>> {
        self.captured().map(|values| Box::new(Detail { values: Some(values), ..Detail::default() }))
    }

    pub(crate) fn captured(&self) -> Option<Captured> {
        Detail::read(self.as_bytes()?.as_bytes())?.values
    }
}

impl Drop for Recorded {
    #[inline]
    fn drop(&mut self) {
        if let Some(values) = self.0.take() {
            keep(values);
        }
    }
}

#[inline(never)]
#[expect(clippy::unnecessary_box_returns, reason = "the box is what is used again")]
fn begin(redacted: Paths) -> Box<Values> {
    let spare = SPARE.try_with(Cell::take).ok().flatten();
    let mut values = spare.unwrap_or_else(new);
    values.fields.begin(redacted);
    values
}

#[cold]
#[inline(never)]
#[expect(clippy::unnecessary_box_returns, reason = "the box is what is used again")]
fn new() -> Box<Values> {
    Box::new(Values { fields: Fields::new() })
}

#[inline(never)]
fn keep(mut values: Box<Values>) {
    values.fields.shrink(SPARE_BYTES_MAX);
    // A thread that ends keeps nothing.
    let _ended = SPARE.try_with(|spare| {
        if let Some(mut other) = spare.replace(Some(values)) {
            other.fields.rest();
        }
    });
}
