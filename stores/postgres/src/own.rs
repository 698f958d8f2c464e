//! Transactions that are somebody else's.

use tokio_postgres::{Error, Statement, Transaction};

/// A transaction that [`create_in`](crate::PostgresStore::create_in) takes: of a connection of `deadpool_postgres`, which keeps
/// prepared statements, or of `tokio_postgres` itself, which asks the server for each once more.
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
