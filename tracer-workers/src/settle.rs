//! Ends attempts in the store: many in one call, until it is known what has become of each.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracer::execution::{Command, ExecutionError, ExecutionManager, ExecutionStore, Failure, Lease, Write};

use crate::held::Held;
use crate::worker::OnError;

/// How many ends one call takes. While it is under way, the next ones gather.
const BATCH_MAX: usize = 100;
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// An attempt that has ended, and how; `None` if it is another's by now.
pub(crate) struct Ended {
    pub(crate) lease: Lease,
    pub(crate) command: Option<Command>,
}

pub(crate) struct Settler<S> {
    pub(crate) manager: ExecutionManager<S>,
    pub(crate) held: Arc<Held>,
    pub(crate) on_error: OnError,
}

impl<S: ExecutionStore> Settler<S> {
    /// Until nobody can hand anything over any more.
    pub(crate) async fn run(self, mut ended: mpsc::UnboundedReceiver<Ended>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while ended.recv_many(&mut batch, BATCH_MAX).await > 0 {
            gather(&mut ended, &mut batch).await;
            let mut writes = Vec::with_capacity(batch.len());
            for Ended { lease, command } in batch.drain(..) {
                match command {
                    Some(command) => writes.push(Write::under(lease, command)),
                    None => self.held.remove(std::iter::once(lease)),
                }
            }
            if !writes.is_empty() {
                self.settle(writes).await;
            }
        }
    }

    /// Settles all of them together; one by one, if the store refuses them together.
    async fn settle(&self, writes: Vec<Write>) {
        if let Err(error) = self.persist(&writes).await {
            (self.on_error)(&error);
            for write in writes {
                self.settle_one(write).await;
            }
        }
    }

    async fn settle_one(&self, write: Write) {
        let write = vec![write];
        let Err(error) = self.persist(&write).await else { return };
        (self.on_error)(&error);
        // The store will not take this result: that is how the attempt has ended.
        let failure = Failure::new(error.to_string()).code(error.code());
        let fail = |write: Write| Write { command: Command::Fail { failure: failure.clone(), random: 0 }, ..write };
        let failed: Vec<Write> = write.into_iter().map(fail).collect();
        if let Err(error) = self.persist(&failed).await {
            (self.on_error)(&error);
            // Nothing helps: the lease will end.
            self.forget(&failed);
        }
    }

    /// Repeats what may be repeated, for as long as it takes: the ends of attempts under their leases always may.
    async fn persist(&self, writes: &[Write]) -> Result<(), ExecutionError> {
        let mut wait = WAIT_MIN;
        loop {
            match self.manager.settle(writes.to_vec()).await {
                Ok(_) => {
                    // One that was refused is another's by now: there is nothing more to do about it.
                    self.forget(writes);
                    return Ok(());
                }
                Err(error) if error.is_retryable() => (self.on_error)(&error),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn forget(&self, writes: &[Write]) {
        let lease = |write: &Write| Lease { id: write.id, epoch: write.expected.epoch.unwrap_or_default() };
        self.held.remove(writes.iter().map(lease));
    }
}

/// Takes what others are about to hand over as well, for as long as something comes whenever they get their turn.
async fn gather(ended: &mut mpsc::UnboundedReceiver<Ended>, batch: &mut Vec<Ended>) {
    loop {
        let before = batch.len();
        tokio::task::yield_now().await;
        let room = BATCH_MAX.saturating_sub(before);
        batch.extend(std::iter::from_fn(|| ended.try_recv().ok()).take(room));
        if batch.len() == before {
            return;
        }
    }
}
