//! Executions that do nothing: created, run and acknowledged, everything kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tokio::sync::Notify;
use tracer::execution::{
    Claim, Command, DynStore, ExecutionError, ExecutionManager, ExecutionStatus, Failure, ListOptions, NewExecution,
    Write,
};
use tracer_workers::{Attempt, Worker};

use crate::peer::Peer;
use crate::server::Server;

/// How many executions one call is about.
pub(crate) const BATCH: usize = 100;
/// How many handlers may run at once: as many as the peer with the most.
const AT_ONCE: usize = 500;

pub(crate) type Manager = ExecutionManager<DynStore>;

/// Who does it.
pub(crate) enum By {
    /// Nobody but the store: claims and completions in turn.
    Calls(Manager),
    /// A worker with a handler.
    Worker(Manager),
    /// Another library.
    Peer(Peer),
}

/// What a turn costs a job, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) client: f64,
    pub(crate) server: f64,
    pub(crate) wall: f64,
}

/// One that takes turns.
pub(crate) struct Case {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) by: By,
    pub(crate) server: Option<Server>,
    /// What the server had used at the end of the turn before.
    seen: f64,
    pub(crate) costs: Vec<Cost>,
}

impl Case {
    pub(crate) fn new(group: &'static str, name: &str, by: By, server: Option<Server>) -> Result<Self, String> {
        let seen = server.as_ref().map_or(Ok(0.0), Server::cpu_us)?;
        Ok(Self { group, name: name.to_owned(), by, server, seen, costs: Vec::new() })
    }

    /// So many executions. What the server has done since its turn before counts: it tidies up behind the others' backs.
    pub(crate) async fn turn(&mut self, jobs: usize) -> Result<Cost, String> {
        let (client, wall) = match &mut self.by {
            By::Peer(peer) => peer.drain(jobs).await?,
            By::Calls(manager) => measured(calls(manager, jobs)).await?,
            By::Worker(manager) => measured(worker(manager, jobs)).await?,
        };
        self.cost(client, wall, jobs)
    }

    /// What each of so many has cost, with what the server has used since this was asked last.
    pub(crate) fn cost(&mut self, client: f64, wall: f64, count: usize) -> Result<Cost, String> {
        let seen = self.server.as_ref().map_or(Ok(0.0), Server::cpu_us)?;
        let server = seen - std::mem::replace(&mut self.seen, seen);
        let each = |us: f64| us / count as f64;
        Ok(Cost { client: each(client), server: each(server), wall: each(wall) })
    }

    pub(crate) fn manager(&self) -> Result<Manager, String> {
        match &self.by {
            By::Calls(manager) | By::Worker(manager) => Ok(manager.clone()),
            By::Peer(_) => Err("it has no store".to_owned()),
        }
    }

    /// Nothing may be left over that was not done.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let (By::Calls(manager) | By::Worker(manager)) = &self.by else { return Ok(()) };
        for status in [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Retrying] {
            let left = manager.list(ListOptions::new().status(status).limit(1)).await.map_err(told)?;
            if !left.is_empty() {
                return Err(format!("{}, {}: some are still {status}", self.group, self.name));
            }
        }
        Ok(())
    }
}

/// What work costs this process, and how long it takes, in microseconds.
pub(crate) async fn measured(work: impl Future<Output = Result<(), ExecutionError>>) -> Result<(f64, f64), String> {
    let (cpu, wall) = (cpu_us()?, now());
    work.await.map_err(told)?;
    Ok((cpu_us()? - cpu, wall.elapsed().as_secs_f64() * 1e6))
}

pub(crate) fn told(error: ExecutionError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Creates executions, batch by batch.
pub(crate) async fn create(manager: &Manager, jobs: usize) -> Result<(), ExecutionError> {
    for batch in 0..jobs / BATCH {
        let new = (0..BATCH).map(|number| NewExecution::new("no-op").payload(batch * BATCH + number));
        manager.create_all(new.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// So many are created, and as many claimed and completed: the oldest, if there are more.
pub(crate) async fn calls(manager: &Manager, jobs: usize) -> Result<(), ExecutionError> {
    create(manager, jobs).await?;
    let limit = u32::try_from(BATCH).expect("it is small");
    let worker = "bench".to_owned();
    let claim = Claim { types: vec!["no-op".into()], only: None, limit, worker, lease: Duration::from_secs(30) };
    for _ in 0..jobs / BATCH {
        let claimed = manager.claim(claim.clone()).await?;
        assert_eq!(claimed.len(), BATCH, "nobody else takes any");
        let complete = |token| Write::under(token, Command::Complete { result: serde_json::Value::Null });
        let writes = claimed.iter().map(|execution| complete(execution.token())).collect();
        for settled in manager.settle(writes).await? {
            settled.expect("nobody else has it");
        }
    }
    Ok(())
}

async fn worker(manager: &Manager, jobs: usize) -> Result<(), ExecutionError> {
    create(manager, jobs).await?;
    let (left, done) = (Arc::new(AtomicUsize::new(jobs)), Arc::new(Notify::new()));
    let handle = {
        let done = done.clone();
        move |_: Attempt, _: usize| {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                done.notify_one();
            }
            std::future::ready(Ok::<_, Failure>(()))
        }
    };
    let worker = Worker::new(manager.clone()).concurrency(AT_ONCE).poll(Duration::from_millis(5));
    let running = worker.handler("no-op", handle).start();
    done.notified().await;
    let left = running.shutdown(Duration::from_secs(60)).await;
    assert_eq!(left.given_back, 0, "all are acknowledged");
    Ok(())
}

/// Of this process, all threads together.
fn cpu_us() -> Result<f64, String> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| error.to_string())?;
    let us = |time: TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Ok(us(usage.user_time()) + us(usage.system_time()))
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch, not a record")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
