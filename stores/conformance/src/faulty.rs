//! A store that fails, and one that tries again.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracer::execution::{
    Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStore, Lease,
    ListOptions, Page, Refusal, Retention, StoreError, Swept, Timestamp, Trouble, Write, Written,
};

use crate::wrap::{Call, wrapped};

/// Fails two calls of five: before anything is done, or, where the contract says that the call can be repeated, after
/// everything is, so that the reply is lost.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    calls: AtomicU64,
}

impl<S> Faulty<S> {
    /// A worse store.
    pub fn new(inner: S) -> Self {
        Self { inner, calls: AtomicU64::new(0) }
    }

    fn inner(&self) -> &S {
        &self.inner
    }

    async fn around<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        call: Call,
        make: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match (number % 5, call) {
            (1, _) => Err(fault(Written::Nothing)),
            (3, Call::Repeatable) => {
                make().await?;
                Err(fault(Written::Unknown))
            }
            _ => make().await,
        }
    }
}

fn fault(written: Written) -> StoreError {
    let source = "the connection was cut, as the test wants".into();
    StoreError { store: "faulty", operation: "answer", trouble: Trouble::Unavailable, written, source }
}

wrapped!(Faulty<S>);

/// Repeats what failed, as the contract allows: if it says so, and if nothing was written or the call can be repeated.
#[derive(Debug)]
pub struct Repeating<S>(pub S);

impl<S> Repeating<S> {
    fn inner(&self) -> &S {
        &self.0
    }

    async fn around<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        call: Call,
        make: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        loop {
            match make().await {
                Err(error)
                    if error.is_retryable() && (error.written == Written::Nothing || call == Call::Repeatable) => {}
                answer => return answer,
            }
        }
    }
}

wrapped!(Repeating<S>);
