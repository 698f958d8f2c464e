//! `graphile_worker`, with the settings of its own benchmark of throughput: a local queue, completions in batches.
//!
//! `peer-graphile URL`. It deletes what is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tracer_benches_peers::{BATCH, Peer, obey};

const SCHEMA: &str = "graphile_worker";

#[derive(Clone, Serialize, Deserialize)]
struct NoOp(usize);

#[derive(Clone, Debug, Default)]
struct Done(Arc<AtomicUsize>);

impl TaskHandler for NoOp {
    const IDENTIFIER: &'static str = "no-op";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        ctx.get_ext::<Done>().expect("it was added").0.fetch_add(1, Ordering::Relaxed);
        Ok::<(), String>(())
    }
}

struct Graphile {
    pool: PgPool,
    utils: WorkerUtils,
}

impl Peer for Graphile {
    async fn connect(url: &str) -> Self {
        let pool = PgPool::connect(url).await.expect("the server answers");
        let utils = WorkerUtils::new(pool.clone(), SCHEMA);
        utils.migrate().await.expect("the tables are made");
        Self { pool, utils }
    }

    async fn drain(&mut self, jobs: usize) {
        let spec = JobSpec::default();
        let numbers: Vec<_> = (0..jobs).map(|number| (NoOp(number), &spec)).collect();
        for batch in numbers.chunks(BATCH) {
            self.utils.add_jobs(batch).await.expect("they are enqueued");
        }
        let done = Done::default();
        let worker = WorkerOptions::default()
            .pg_pool(self.pool.clone())
            .schema(SCHEMA)
            .concurrency(500)
            .poll_interval(Duration::from_millis(5))
            .complete_job_batch_delay(Duration::from_millis(5))
            .local_queue(LocalQueueConfig::default().with_size(5000))
            .listen_os_shutdown_signals(false)
            .add_extension(done.clone())
            .define_job::<NoOp>();
        let worker = Arc::new(worker.init().await.expect("it can begin"));
        let running = tokio::spawn({
            let worker = worker.clone();
            async move { worker.run().await }
        });
        while done.0.load(Ordering::Relaxed) < jobs {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        worker.request_shutdown();
        running.await.expect("it does not panic").expect("it ends well");
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM graphile_worker._private_jobs")
            .fetch_one(&self.pool)
            .await
            .expect("the server answers");
        assert_eq!(left, 0, "all are done");
    }
}

fn main() {
    obey::<Graphile>();
}
