//! `apalis-postgres`, in batches of 100, with handlers as tasks of their own.
//!
//! `peer-apalis URL`. It keeps what is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage};
use tracer_benches_peers::{BATCH, Peer, obey};

struct Apalis {
    pool: PgPool,
    drained: usize,
}

/// How many are still to be done.
#[derive(Clone)]
struct Left(Arc<AtomicUsize>);

async fn no_op(_: usize, left: Data<Left>, worker: WorkerContext) -> Result<(), BoxDynError> {
    if left.0.0.fetch_sub(1, Ordering::Relaxed) == 1 {
        worker.stop()?;
    }
    Ok(())
}

impl Peer for Apalis {
    async fn connect(url: &str) -> Self {
        let pool = PgPool::connect(url).await.expect("the server answers");
        PostgresStorage::setup(&pool).await.expect("the tables are made");
        Self { pool, drained: 0 }
    }

    async fn drain(&mut self, jobs: usize) {
        let config = Config::default().queue("no-op").batch_size(BATCH);
        let mut backend = PostgresStorage::new(&self.pool).with_config(config);
        for batch in (0..jobs).collect::<Vec<_>>().chunks(BATCH) {
            backend.push_bulk(batch.to_vec()).await.expect("they are enqueued");
        }
        let name = format!("bench-{}", self.drained);
        let worker = WorkerBuilder::new(name).backend(backend).data(Left(Arc::new(jobs.into())));
        worker.parallelize(tokio::spawn).build(no_op).run().await.expect("it ends well");
        self.drained += jobs;
        let done: i64 = sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE status = 'Done'")
            .fetch_one(&self.pool)
            .await
            .expect("the server answers");
        assert_eq!(usize::try_from(done), Ok(self.drained), "all are done");
    }
}

fn main() {
    obey::<Apalis>();
}
