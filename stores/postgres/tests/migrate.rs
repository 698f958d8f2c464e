//! Tables that older versions have made and filled, with executions in every state: `tests/data/v1.sql` and `v2.sql` are
//! dumps of such. Whatever was in them is there afterwards, and goes on as it would have.

mod run;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};
use tracer::ManualClock;
use tracer::execution::{
    AttemptEnd, Beat, Claim, Execution, ExecutionId, ExecutionManager, ExecutionStatus, ExecutionStore, Failure,
    ListOptions, NewExecution, Parts, Refusal, Timestamp,
};
use tracer_postgres::PostgresStore;

use run::run;

const V1: &str = include_str!("data/v1.sql");
const V2: &str = include_str!("data/v2.sql");
/// Those among them that cannot be read.
const UNREADABLE: &str = "unreadable";

/// Some time after both were made, and long before the leases and waits in them that are long are over.
fn clock() -> ManualClock {
    let later: Timestamp = "2026-11-28T00:00:00.000Z".parse().expect("it is a time");
    ManualClock::new(Duration::from_millis(later.unix_ms()))
}

struct Old {
    client: Client,
    /// By their keys; what has none, by its type.
    executions: BTreeMap<String, Execution>,
    unreadable: ExecutionId,
}

/// Tables of an older version, and what is in them.
async fn old(config: &tokio_postgres::Config, tables: &str) -> Old {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(tables).await.unwrap();
    let query = "SELECT encode(id, 'hex'), coalesce(idempotency_key, type), body, payload, result, checkpoints
                 FROM tracer_executions";
    let (mut executions, mut unreadable) = (BTreeMap::new(), None);
    for row in client.query(query, &[]).await.unwrap() {
        let id: ExecutionId = format!("ex_{}", row.get::<_, String>(0)).parse().unwrap();
        let parts: Parts<&str> =
            Parts { body: row.get(2), payload: row.get(3), result: row.get(4), checkpoints: row.get(5) };
        match parts.join(id) {
            Ok(execution) => drop(executions.insert(row.get(1), execution)),
            Err(_) => unreadable = Some((row.get::<_, String>(1), id)),
        }
    }
    let (name, unreadable) = unreadable.expect("one is");
    assert_eq!(name, UNREADABLE);
    Old { client, executions, unreadable }
}

async fn check(schema: &str, tables: &str) {
    let config = server::config(schema).await;
    let old = old(&config, tables).await;
    let states: BTreeSet<&str> = old.executions.values().map(|execution| execution.status.as_str()).collect();
    assert_eq!(states.len(), ExecutionStatus::ALL.len(), "one in each state, found {states:?}");
    let store = PostgresStore::connect(config, NoTls).await.unwrap().with_clock(clock());
    let manager = ExecutionManager::new(store);
    what_was_there_is(&old, &manager).await;
    older_versions_are_refused(&old).await;
    what_waits_is_claimed(&old, &manager).await;
    what_runs_ends(&old, &manager).await;
    what_has_ended_stays_so(&old, &manager).await;
    let of_all = manager.list(ListOptions::new().limit(100)).await.unwrap();
    assert_eq!((of_all.len(), &*of_all.unreadable), (old.executions.len(), &[old.unreadable][..]));
    manager.delete(&old.unreadable).await.unwrap();
    assert_eq!(manager.list(ListOptions::new().limit(100)).await.unwrap().len(), old.executions.len());
}

type Manager = ExecutionManager<PostgresStore>;

async fn what_was_there_is(old: &Old, manager: &Manager) {
    let version: i64 = old.client.query_one("SELECT version FROM tracer_schema", &[]).await.unwrap().get(0);
    assert_eq!(version, 6);
    for (name, before) in &old.executions {
        assert_eq!(&manager.get(&before.id).await.unwrap(), before, "{name}");
        if let Some(key) = &before.idempotency_key {
            let again = NewExecution::new(&*before.type_).payload(&before.payload).idempotency_key(key);
            assert_eq!(&manager.create(again).await.unwrap(), before, "{name}");
        }
    }
    assert_eq!(manager.get(&old.unreadable).await.unwrap_err().code(), "CORRUPT");
    for status in ExecutionStatus::ALL {
        // What is not an execution is of the state that its row says.
        if status == ExecutionStatus::Pending {
            continue;
        }
        let expected = old.executions.values().filter(|execution| execution.status == status);
        let expected: BTreeSet<ExecutionId> = expected.map(|execution| execution.id).collect();
        let found = manager.list(ListOptions::new().status(status)).await.unwrap();
        assert_eq!(found.iter().map(|execution| execution.id).collect::<BTreeSet<_>>(), expected, "{status}");
    }
}

/// A process of an older version that still runs knows nothing of the queue.
async fn older_versions_are_refused(old: &Old) {
    for statement in [
        "INSERT INTO tracer_executions (id, type, status, priority, created_at, due_at, idempotency_key, parent_id, body,
             payload) VALUES ('\\x00', 'work', 'pending', 0, 0, 0, NULL, NULL, '{}', NULL)",
        "UPDATE tracer_executions SET status = 'completed', due_at = NULL, sweep_at = NULL, body = '{}'",
        "UPDATE tracer_executions SET due_at = NULL, sweep_at = NULL",
        "SELECT status FROM tracer_executions FOR UPDATE",
        "SELECT id, body FROM tracer_executions WHERE due_at <= 1 FOR UPDATE",
    ] {
        let error = old.client.batch_execute(statement).await.unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::UNDEFINED_COLUMN), "{statement}");
    }
}

async fn what_waits_is_claimed(old: &Old, manager: &Manager) {
    let worker = "new-worker".to_owned();
    let claim = Claim { types: Vec::new(), only: None, limit: 100, worker, lease: Duration::from_secs(30) };
    let claimed = manager.claim(claim).await.unwrap();
    let names: Vec<&str> = claimed.iter().filter_map(|execution| execution.idempotency_key.as_deref()).collect();
    // The highest priority first, then what is due for longest; one is not due, another cannot be read.
    assert_eq!(names, ["pending-first", "pending", "retrying"]);
    for execution in claimed {
        let before = &old.executions[execution.idempotency_key.as_deref().unwrap()];
        assert_eq!((execution.epoch, execution.attempts), (before.epoch + 1, before.attempts + 1));
        assert_eq!(execution.payload, before.payload);
        let done = manager.under(&execution.token()).complete(&execution.id, 1).await.unwrap();
        assert_eq!((done.status, done.version), (ExecutionStatus::Completed, before.version + 2));
    }
}

async fn what_runs_ends(old: &Old, manager: &Manager) {
    let of = |name: &str| &old.executions[name];
    let swept = manager.tick().await.unwrap();
    assert_eq!((swept.total(), swept.retried), (2, 2));
    for (name, end) in [("running-lost", AttemptEnd::Failed), ("running-deadline", AttemptEnd::TimedOut)] {
        let retried = manager.get(&of(name).id).await.unwrap();
        assert_eq!(retried.status, ExecutionStatus::Retrying, "{name}");
        assert_eq!(retried.history.last().unwrap().end, Some(end), "{name}");
    }
    let (held, asked) = (of("running").token(), of("running-cancel").token());
    let beats = manager.heartbeat(&[held, asked, of("running-lost").token()], Duration::from_secs(60)).await.unwrap();
    assert_eq!(beats, [Beat::Held, Beat::CancelRequested, Beat::Lost]);
    let done = manager.under(&held).complete(&held.id, "done").await.unwrap();
    assert_eq!((&done.checkpoints, done.version), (&of("running").checkpoints, of("running").version + 1));
    assert!(!done.checkpoints.is_empty());
    assert_eq!(manager.under(&asked).cancel(&asked.id, None).await.unwrap().status, ExecutionStatus::Cancelled);
    let by_hand = of("running-by-hand").id;
    let failed = manager.fail(&by_hand, Failure::new("no").retryable(true)).await.unwrap();
    assert_eq!(failed.status, ExecutionStatus::Retrying);
}

async fn what_has_ended_stays_so(old: &Old, manager: &Manager) {
    for name in ["completed", "failed", "cancelled", "timed-out"] {
        let before = &old.executions[name];
        let late = manager.under(&before.token()).complete(&before.id, "late").await.unwrap_err();
        assert_eq!(late.code(), "LEASE_LOST", "{name}");
        assert_eq!(&manager.get(&before.id).await.unwrap(), before, "{name}");
    }
    let again = manager.retry(&old.executions["failed"].id).await.unwrap();
    assert_eq!(again.status, ExecutionStatus::Retrying);
    let claimed = manager.claim_by_id(&again.id, "new-worker", Duration::from_secs(30)).await.unwrap();
    assert_eq!(claimed.expect("it is due").epoch, again.epoch + 1);
    let refused = manager.store().delete(&again.id).await.unwrap().unwrap_err();
    assert_eq!(refused, Refusal::Transition { command: "delete", status: ExecutionStatus::Running });
}

#[test]
fn tables_of_version_1_become_ones_of_this() {
    run(check("v1", V1));
}

#[test]
fn tables_of_version_2_become_ones_of_this() {
    run(check("v2", V2));
}

#[tokio::test]
async fn checkpoints_that_cannot_be_read_are_kept() {
    let config = server::config("unreadable_checkpoints").await;
    let old = old(&config, include_str!("data/v1.sql")).await;
    let half = "UPDATE tracer_executions SET checkpoints = '{\"half' WHERE idempotency_key = 'running'";
    old.client.batch_execute(half).await.unwrap();
    let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await.unwrap().with_clock(clock()));
    assert_eq!(manager.get(&old.executions["running"].id).await.unwrap_err().code(), "CORRUPT");
    assert_eq!(manager.get(&old.executions["completed"].id).await.unwrap(), old.executions["completed"]);
    let query = "SELECT c.value FROM tracer_checkpoints c JOIN tracer_executions e USING (id) WHERE idempotency_key = 'running'";
    assert_eq!(old.client.query_one(query, &[]).await.unwrap().get::<_, String>(0), "{\"half");
}
