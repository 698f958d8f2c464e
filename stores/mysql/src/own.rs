//! What is done inside transactions that are somebody else's.

use mysql_async::Transaction;
use mysql_async::prelude::Queryable;
use tracer::execution::{Create, Created, ExecutionError, StoreError, Write};

use crate::store::{Done, MysqlStore};

impl MysqlStore {
    /// Creates executions inside a transaction of one's own: they are there if it is committed.
    /// [`ExecutionManager::prepare`](tracer::execution::ExecutionManager::prepare) makes what is given here.
    ///
    /// # Errors
    ///
    /// As [`ExecutionStore::create`](tracer::execution::ExecutionStore::create). None was created then, and the transaction is as
    /// it was before; after a deadlock the server has rolled all of it back. What was there under an idempotency key may be
    /// other work: [`Create::check`] says so.
    pub async fn create_in(
        &self,
        transaction: &mut Transaction<'_>,
        new: &[Create],
    ) -> Result<Vec<Created>, StoreError> {
        let created = whole(transaction, async |transaction| self.create_all(transaction, new).await).await;
        created.map_err(|problem| problem.into_store("create executions"))
    }

    /// Changes an execution inside a transaction of one's own, under a lease: its checkpoint is kept, or its attempt ended,
    /// exactly if what else the transaction does is done. The handler of a worker that has ended its attempt so returns the same
    /// result.
    ///
    /// The execution is locked until the transaction ends. Heartbeats of its worker wait for that, so one that lasts for longer
    /// than a lease costs the worker all that it has; and what is written to the execution otherwise waits, also by the same
    /// handler: let it come last, and commit soon.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::under`](tracer::execution::ExecutionManager::under), `LEASE_LOST` first of all: another attempt
    /// has begun. Nothing was written, and the transaction is as it was before: roll it back, or its effects are there without
    /// what says so. After a deadlock the server has rolled all of it back.
    pub async fn settle_in(&self, transaction: &mut Transaction<'_>, write: Write) -> Result<(), ExecutionError> {
        let id = write.id;
        let outcomes = whole(transaction, async |line| self.write_all(line, false, &[write]).await).await;
        let outcomes = outcomes.map_err(|problem| problem.into_store("update an execution"))?;
        outcomes
            .into_iter()
            .try_for_each(|outcome| outcome.map(drop).map_err(|refusal| ExecutionError::refused(id, refusal)))
    }
}

/// All of this work or, with an error, none of it: whoever commits all the same is not to commit a half.
async fn whole<T>(
    transaction: &mut Transaction<'_>,
    work: impl AsyncFnOnce(&mut Transaction<'_>) -> Done<T>,
) -> Done<T> {
    transaction.query_drop("SAVEPOINT tracer_own").await?;
    let done = work(transaction).await;
    let end = if done.is_ok() { "RELEASE SAVEPOINT" } else { "ROLLBACK TO SAVEPOINT" };
    let ended = transaction.query_drop(format!("{end} tracer_own")).await;
    let done = done?;
    ended?;
    Ok(done)
}
