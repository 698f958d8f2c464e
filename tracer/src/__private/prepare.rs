//! Takes what a traced future needs of a context before that context moves into the future.

use std::future::Future;

use crate::context::Context;
use crate::lines::{Traced, traced};
use crate::outcome::Outcome;
use crate::site::Site;
use crate::values::Recorded;

/// The call of a traced future, before there is a future.
#[derive(Debug)]
#[must_use = "nothing is traced without its future"]
pub struct Prepared {
    site: &'static Site,
    values: Recorded,
}

/// The first half of [`traced`], for functions that are given a context.
pub fn prepare(site: &'static Site, at: Option<&Context>, values: Recorded) -> Prepared {
    let _ = at;
    Prepared { site, values }
}

impl Prepared {
    /// The second half of [`traced`].
    pub fn traced<F: Future, J: FnOnce(&F::Output) -> Outcome>(self, future: F, judge: J) -> Traced<F, J> {
        traced(self.site, None, self.values, future, judge)
    }
}
