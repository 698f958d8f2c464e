//! What is done inside transactions that are somebody else's.

use mysql_async::Transaction;
use tracer::execution::{Create, Created, ExecutionError, StoreError, Write};

use crate::store::MysqlStore;

impl MysqlStore {
    /// Creates executions inside a transaction of one's own: they are there if it is committed.
    /// [`ExecutionManager::prepare`](tracer::execution::ExecutionManager::prepare) makes what is given here.
    ///
    /// # Errors
    ///
    /// As [`ExecutionStore::create`](tracer::execution::ExecutionStore::create); roll the transaction back. What was there under an idempotency key may be other work:
    /// [`Create::check`] says so.
    pub async fn create_in(
        &self,
        transaction: &mut Transaction<'_>,
        new: &[Create],
    ) -> Result<Vec<Created>, StoreError> {
        self.create_all(transaction, new).await.map_err(|problem| problem.into_store("create executions"))
    }

    /// Changes an execution inside a transaction of one's own, under a lease: its checkpoint is kept, or its attempt ended,
    /// exactly if what else the transaction does is done. The handler of a worker that has ended its attempt so returns the same
    /// result.
    ///
    /// The execution is locked until the transaction ends, and heartbeats of its worker wait for that: let it come last, and
    /// commit soon.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::under`](tracer::execution::ExecutionManager::under), `LEASE_LOST` first of all: another attempt
    /// has begun. Roll the transaction back.
    pub async fn settle_in(&self, transaction: &mut Transaction<'_>, write: Write) -> Result<(), ExecutionError> {
        let id = write.id;
        let outcomes = self.write_all(transaction, false, &[write]).await;
        let outcomes = outcomes.map_err(|problem| problem.into_store("update an execution"))?;
        outcomes
            .into_iter()
            .try_for_each(|outcome| outcome.map(drop).map_err(|refusal| ExecutionError::refused(id, refusal)))
    }
}
