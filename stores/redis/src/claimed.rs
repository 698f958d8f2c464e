//! What this process has claimed: whoever ends an attempt that he claimed himself need not read it again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracer::execution::{Execution, ExecutionId};

use crate::record::Was;

/// How many are kept at most. Those that are not ended here are forgotten in the end, with all others, and read again.
const LEN_MAX: usize = 1024;

/// Small executions as they were when they were claimed here. What is written over one that is no longer so is refused, so
/// what is remembered never does harm.
#[derive(Default)]
pub(crate) struct Claimed(Mutex<HashMap<ExecutionId, (Was, Execution)>>);

impl Claimed {
    pub(crate) fn keep(&self, claimed: impl IntoIterator<Item = (Was, Execution)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (was, execution) in claimed {
            if all.len() >= LEN_MAX {
                all.clear();
            }
            all.insert(execution.id, (was, execution));
        }
    }

    /// Those with these ids that were claimed here, as they were then.
    pub(crate) fn take(&self, ids: &[ExecutionId]) -> Vec<Option<(Was, Execution)>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().map(|id| all.remove(id)).collect()
    }
}
