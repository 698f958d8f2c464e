//! A store that takes its time.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tracer::execution::{
    Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStore, Lease,
    ListOptions, Page, Refusal, Retention, StoreError, Swept, Timestamp, Write,
};

use crate::wrap::{Call, wrapped};

/// Lets others run before and after each call, more or less often: what is in between in one's own store shows, and what
/// was taken for instantaneous.
#[derive(Debug)]
pub struct Slow<S> {
    inner: S,
    calls: AtomicU64,
}

impl<S> Slow<S> {
    /// A slower store.
    pub fn new(inner: S) -> Self {
        Self { inner, calls: AtomicU64::new(0) }
    }

    fn inner(&self) -> &S {
        &self.inner
    }

    async fn around<T, F: Future<Output = T>>(&self, _call: Call, make: impl Fn() -> F) -> T {
        // A low-discrepancy sequence: neighbours wait differently long, and a run can be repeated.
        let wait = self.calls.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
        let_others_run(wait / 2).await;
        let answer = make().await;
        let_others_run(wait - wait / 2).await;
        answer
    }
}

async fn let_others_run(mut times: u64) {
    std::future::poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

wrapped!(Slow<S>);
