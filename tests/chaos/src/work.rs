//! A worker process: handlers that fail, hang, panic, die and have effects.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use tracer::execution::{Execution, ExecutionManager, Failure, NewExecution, RetryPolicy};
use tracer::traced_node;
use tracer_workers::{Attempt, Worker};

use crate::history::{Fact, Log, now};
use crate::recorded::{Fault, Recorded};

/// How long leases are.
pub const LEASE: Duration = Duration::from_secs(2);
/// How long an attempt may take of those that hang.
pub const TIMEOUT: Duration = Duration::from_millis(700);
/// The longest wait between attempts.
pub const WAIT_MAX: Duration = Duration::from_millis(300);

/// The types of executions, and how many of a thousand are of each.
pub const KINDS: [(&str, u32); 7] =
    [("plain", 480), ("slow", 120), ("fails", 120), ("effects", 120), (KEYED, 120), ("panics", 20), ("hangs", 20)];
/// Of this one, so many with one key run at once in a worker.
pub const KEYED: &str = "keyed";
/// See there.
pub const OF_ONE_KEY: usize = 2;
/// How many keys there are.
const KEYS: u128 = 2;
/// This one kills its worker: there are some few.
pub const POISON: &str = "poison";
/// This one takes two to three leases, so that only heartbeats keep it: there are some few.
pub const LONG: &str = "long";
/// How long it takes at most.
pub const LONG_MAX: Duration = Duration::from_secs(3 * LEASE.as_secs());

/// The effects of an `effects`.
pub const EFFECTS: [&str; 2] = ["charge", "send"];

/// An execution of this type.
pub fn new(kind: &str) -> NewExecution {
    let max_attempts = match kind {
        // What is only reserved is no attempt: else there would soon be none left.
        KEYED | POISON => 2,
        "effects" => 8,
        // Few workers live for that long, while they are killed.
        LONG => 20,
        _ => 6,
    };
    let new = NewExecution::new(kind).max_attempts(max_attempts);
    let new = new.retry(RetryPolicy::new(Duration::from_millis(20), WAIT_MAX));
    match timeout_of(kind) {
        Some(timeout) => new.timeout(timeout),
        None => new,
    }
}

/// How long an attempt may take at one of this type.
pub(crate) fn timeout_of(kind: &str) -> Option<Duration> {
    (kind == "hangs").then_some(TIMEOUT)
}

/// Whose effect.
#[derive(Clone)]
struct Of {
    log: Log,
    attempt: Attempt,
}

impl Of {
    fn has(&self, effect: &str, at_most_once: bool) {
        let lease = self.attempt.lease();
        let effect = effect.to_owned();
        self.log.write(now(), [Fact::Effect { id: lease.id, epoch: lease.epoch, effect, at_most_once }]);
    }
}

#[traced_node(checkpoint)]
async fn charge(of: Of) -> u64 {
    pause(10).await;
    of.has("charge", false);
    pause(10).await;
    of.attempt.lease().epoch
}

#[traced_node(checkpoint = at_most_once)]
async fn send(of: Of) -> u64 {
    of.has("send", true);
    pause(20).await;
    of.attempt.lease().epoch
}

async fn pause(longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..=longest_ms))).await;
}

async fn handle(attempt: Attempt, log: Log) -> Result<Value, Failure> {
    let (is_first, epoch) = (attempt.execution().attempts == 1, attempt.lease().epoch);
    match attempt.execution().type_.as_str() {
        "slow" => pause(150).await,
        "fails" if is_first || fastrand::bool() => return Err(Failure::new("as it is to").retryable(true)),
        "hangs" if is_first => std::future::pending().await,
        "panics" if is_first => panic!("as it is to"),
        "effects" => {
            let of = Of { log, attempt };
            charge(of.clone()).await;
            pause(20).await;
            send(of).await;
            pause(20).await;
        }
        KEYED => {
            let (from, id, key) = (now(), attempt.lease().id, key_of(attempt.execution()));
            pause(300).await;
            log.write(from, [Fact::Ran { id, key }]);
        }
        LONG => tokio::time::sleep(LONG_MAX.mul_f64((2.0 + fastrand::f64()) / 3.0)).await,
        POISON => std::process::abort(),
        _ => {}
    }
    Ok(json!({ "epoch": epoch }))
}

/// A worker with all handlers; with settings for runs, unless those are wanted that a worker has of itself.
pub fn worker(store: Recorded, log: &Log, name: &str, defaults: bool) -> Worker<Recorded> {
    let of_one_key = if store.is_broken(Fault::Crowded) { usize::MAX } else { OF_ONE_KEY };
    let mut worker = Worker::new(ExecutionManager::new(store)).name(name);
    if !defaults {
        worker = worker.lease(LEASE).poll(Duration::from_millis(50));
    }
    for kind in KINDS.map(|(kind, _)| kind).into_iter().chain([POISON, LONG]) {
        let log = log.clone();
        worker = worker.handler(kind, move |attempt, _: Value| handle(attempt, log.clone()));
    }
    worker.limit_per_key(KEYED, of_one_key, |execution| Some(key_of(execution)))
}

fn key_of(execution: &Execution) -> String {
    (execution.id.get() % KEYS).to_string()
}

/// Waits until the standard input ends: that is how a process is asked to.
pub async fn asked_to_end() {
    let (told, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever it reads, or does not, there is nothing more.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.send(())
    });
    drop(end.await);
}
