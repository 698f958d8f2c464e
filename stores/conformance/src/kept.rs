//! A store with something that has to live as long.

use std::future::Future;
use std::time::Duration;

use tracer::execution::{
    Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStore, Lease,
    ListOptions, Page, Refusal, Retention, StoreError, Swept, Timestamp, Write,
};

use crate::wrap::{Call, wrapped};

/// A store, and what is dropped after it: its directory, the process of its server.
#[derive(Debug)]
pub struct Kept<S, T>(pub S, pub T);

impl<S, T> Kept<S, T> {
    fn inner(&self) -> &S {
        &self.0
    }

    #[expect(clippy::unused_self, reason = "other wrappers look at themselves")]
    fn around<F: Future>(&self, _call: Call, make: impl Fn() -> F) -> F {
        make()
    }
}

wrapped!(Kept<S, T>);
