//! Writes that are tried again while the store does not answer.

use std::time::Duration;

use tokio::time::Instant;
use tracer::execution::{Command, ExecutionError, ExecutionManager, ExecutionStore, Keep, Lease};

use crate::attempt::Boxed;
use crate::worker::OnError;

const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How long to wait before what has failed so many times is tried again. What failed together is not tried together.
pub(crate) fn back_off(failed: u32) -> Duration {
    let wait = WAIT_MIN.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
    wait.min(WAIT_MAX).mul_f64(0.75 + fastrand::f64() / 4.0)
}

/// Writes under leases, for as long as one lasts: so long after the first failure the store has had time to come back, and
/// an attempt that has its lease still has been told that it was there. What it does not take then it will not take.
#[derive(Clone)]
pub(crate) struct Patient<S> {
    pub(crate) manager: ExecutionManager<S>,
    pub(crate) lease: Duration,
    pub(crate) on_error: OnError,
}

impl<S: ExecutionStore + Clone + 'static> Keep for Patient<S> {
    fn write(&self, lease: Lease, command: Command) -> Boxed<Result<(), ExecutionError>> {
        let Self { manager, lease: patience, on_error } = self.clone();
        Box::pin(async move {
            let (mut since, mut failed) = (None, 0);
            loop {
                match manager.under(&lease).settle(&lease.id, command.clone()).await {
                    Err(error)
                        if error.is_retryable() && since.get_or_insert_with(Instant::now).elapsed() < patience =>
                    {
                        on_error(&error);
                    }
                    settled => return settled,
                }
                failed += 1;
                tokio::time::sleep(back_off(failed)).await;
            }
        })
    }
}
