//! What this process has claimed: whoever ends an attempt that he claimed himself need not read it again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracer::execution::{Execution, ExecutionId, Timestamp};

/// How many are kept at most. The others are read again.
const LEN_MAX: usize = 10_000;

/// Executions as they were when they were claimed here, without what may be large.
#[derive(Default)]
pub(crate) struct Claimed(Mutex<HashMap<ExecutionId, Kept>>);

/// One of them.
pub(crate) struct Kept {
    pub(crate) execution: Execution,
    /// When it was claimed, as the queue has it.
    pub(crate) at: Timestamp,
}

impl Claimed {
    /// Keeps those that were claimed at the same moment, each until it is taken, or its lease has ended and place is wanted.
    pub(crate) fn keep(&self, claimed: &mut [Execution], at: Timestamp) {
        let kept: Vec<Execution> = claimed.iter_mut().map(without_values).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() + kept.len() > LEN_MAX {
            all.retain(|_, kept| kept.execution.lease.as_ref().is_some_and(|lease| lease.until > at));
        }
        let room = LEN_MAX.saturating_sub(all.len());
        all.extend(kept.into_iter().take(room).map(|execution| (execution.id, Kept { execution, at })));
    }

    /// The one with this id, if it was claimed here.
    pub(crate) fn take(&self, id: ExecutionId) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

fn without_values(execution: &mut Execution) -> Execution {
    let payload = std::mem::take(&mut execution.payload);
    let checkpoints = std::mem::take(&mut execution.checkpoints);
    let kept = execution.clone();
    (execution.payload, execution.checkpoints) = (payload, checkpoints);
    kept
}
