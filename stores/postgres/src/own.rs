//! What is done inside transactions that are somebody else's.

use tokio_postgres::{Error, Statement, Transaction};
use tracer::execution::{Create, Created, ExecutionError, StoreError, Write};

use crate::row::TO_CHANGE;
use crate::store::PostgresStore;
use crate::trouble::Done;

/// A transaction that [`create_in`](crate::PostgresStore::create_in) and [`settle_in`](crate::PostgresStore::settle_in) take: of
/// a connection of `deadpool_postgres`, which keeps prepared statements, or of `tokio_postgres` itself, which asks the server for each once more.
pub trait InTransaction: sealed::Sealed {}

pub(crate) mod sealed {
    use super::{Error, Statement, Transaction};

    pub trait Sealed: Sync {
        fn statement(&self, query: &str) -> impl Future<Output = Result<Statement, Error>> + Send;

        fn transaction(&self) -> &Transaction<'_>;
    }
}

impl InTransaction for deadpool_postgres::Transaction<'_> {}

impl sealed::Sealed for deadpool_postgres::Transaction<'_> {
    async fn statement(&self, query: &str) -> Result<Statement, Error> {
        self.prepare_cached(query).await
    }

    fn transaction(&self) -> &Transaction<'_> {
        self
    }
}

impl InTransaction for Transaction<'_> {}

impl sealed::Sealed for Transaction<'_> {
    async fn statement(&self, query: &str) -> Result<Statement, Error> {
        self.prepare(query).await
    }

    fn transaction(&self) -> &Transaction<'_> {
        self
    }
}

impl PostgresStore {
    /// Creates executions inside a transaction of one's own: they are there if it is committed.
    /// [`ExecutionManager::prepare`](tracer::execution::ExecutionManager::prepare) makes what is given here.
    ///
    /// # Errors
    ///
    /// As [`ExecutionStore::create`](tracer::execution::ExecutionStore::create). None was created then, and the transaction is as
    /// it was before. What was there under an idempotency key may be other work: [`Create::check`] says so.
    pub async fn create_in(
        &self,
        transaction: &impl InTransaction,
        new: &[Create],
    ) -> Result<Vec<Created>, StoreError> {
        let created = whole(transaction, self.create_all(transaction, new)).await;
        created.map_err(|problem| problem.into_store("create executions"))
    }

    /// Changes an execution inside a transaction of one's own, under a lease: its checkpoint is kept, or its attempt ended,
    /// exactly if what else the transaction does is done. The handler of a worker that has ended its attempt so returns the same
    /// result.
    ///
    /// ```no_run
    /// # use tracer::execution::{Command, ExecutionError, Write};
    /// # async fn example(
    /// #     attempt: tracer_workers::Attempt,
    /// #     store: tracer_postgres::PostgresStore,
    /// #     client: &mut tokio_postgres::Client,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// if attempt.kept::<i64>("paid").is_none() {
    ///     let transaction = client.transaction().await?;
    ///     transaction.execute("UPDATE accounts SET cents = cents - 100 WHERE id = 7", &[]).await?;
    ///     let paid = Write::under(attempt.lease(), Command::checkpoint("paid", 100)?);
    ///     store.settle_in(&transaction, paid).await?;
    ///     transaction.commit().await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// The execution is locked until the transaction ends. Heartbeats of its worker wait for that, so one that lasts for longer
    /// than a lease costs the worker all that it has; and what is written to the execution otherwise waits, also by the same
    /// handler: let it come last, and commit soon.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::under`](tracer::execution::ExecutionManager::under), `LEASE_LOST` first of all: another attempt
    /// has begun. Nothing was written, and the transaction is as it was before: roll it back, or its effects are there without
    /// what says so.
    pub async fn settle_in(&self, transaction: &impl InTransaction, write: Write) -> Result<(), ExecutionError> {
        let id = write.id;
        let writes = [write];
        let outcomes = whole(transaction, self.write_all(transaction, TO_CHANGE, &writes)).await;
        let outcomes = outcomes.map_err(|problem| problem.into_store("update an execution"))?;
        outcomes
            .into_iter()
            .try_for_each(|outcome| outcome.map(drop).map_err(|refusal| ExecutionError::refused(id, refusal)))
    }
}

/// All of this work or, with an error, none of it: whoever commits all the same is not to commit a half.
async fn whole<T>(own: &impl InTransaction, work: impl Future<Output = Done<T>>) -> Done<T> {
    let transaction = own.transaction();
    transaction.batch_execute("SAVEPOINT tracer_own").await?;
    let done = work.await;
    let end = if done.is_ok() { "RELEASE tracer_own" } else { "ROLLBACK TO tracer_own" };
    let ended = transaction.batch_execute(end).await;
    let done = done?;
    ended?;
    Ok(done)
}
