//! What is particular to a file: several processes, other programs' files, rows that others have written, `kill -9`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{self, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use tracer::ManualClock;
use tracer::execution::{
    Claim, Command, Execution, ExecutionId, ExecutionManager, ExecutionStatus, ExecutionStore, Failure, ListOptions,
    NewExecution, StoreError, Survives, Write, Written,
};
use tracer_sqlite::{Options, SqliteStore};
use tracer_store_conformance::walk;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(future)
}

fn claim(limit: u32) -> Claim {
    let worker = "worker".to_owned();
    Claim { types: Vec::new(), only: None, limit, worker, lease: Duration::from_secs(30) }
}

#[test]
fn what_was_written_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let clock = ManualClock::new(Duration::from_secs(1_800_000_000));
    let open = || ExecutionManager::new(Options::new().clock(clock.clone()).open(&path).unwrap());
    let (created, failed) = run(async {
        let manager = open();
        let created = manager.create(NewExecution::new("work").max_attempts(2).idempotency_key("key")).await.unwrap();
        manager.start(&created.id).await.unwrap();
        manager.checkpoint(&created.id, "row", 7).await.unwrap();
        (created.id, manager.fail(&created.id, Failure::new("no").retryable(true)).await.unwrap())
    });
    run(async {
        let manager = open();
        assert_eq!(manager.get(&created).await.unwrap(), failed);
        assert_eq!(manager.find_by_idempotency_key("key").await.unwrap().as_ref(), Some(&failed));
        // The wait goes on as if nothing had been.
        assert!(manager.claim(claim(1)).await.unwrap().is_empty());
        clock.advance(failed.run_at.since(failed.updated_at));
        assert_eq!(manager.claim(claim(1)).await.unwrap()[0].checkpoints["row"], 7);
    });
}

#[test]
fn what_another_process_has_written_counts_though_the_execution_was_claimed_here() {
    let directory = tempfile::tempdir().unwrap();
    let open = || ExecutionManager::new(SqliteStore::open(directory.path().join("executions.db")).unwrap());
    let (here, there) = (open(), open());
    run(async {
        here.create(NewExecution::new("work").payload(1)).await.unwrap();
        let claimed = here.claim(claim(1)).await.unwrap().remove(0);
        there.under(&claimed.token()).checkpoint(&claimed.id, "row", 7).await.unwrap();
        let completed = here.under(&claimed.token()).complete(&claimed.id, "done").await.unwrap();
        assert_eq!((&completed.checkpoints["row"], completed.version), (&7.into(), 4));
        assert_eq!(there.get(&claimed.id).await.unwrap(), completed);
    });
}

#[test]
fn time_never_falls_though_the_clock_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let open = |unix_s| {
        let clock = ManualClock::new(Duration::from_secs(unix_s));
        ExecutionManager::new(Options::new().clock(clock).open(&path).unwrap())
    };
    let (early, late, later, latest) = (open(1), open(1_800_000_000), open(1_800_000_001), open(1_800_000_002));
    let create = |manager: &ExecutionManager<SqliteStore>| run(manager.create(NewExecution::new("work"))).unwrap();
    let first = create(&late);
    assert_eq!(create(&early).created_at, first.created_at);
    // Whatever has written, also in a transaction of somebody's own.
    let started = run(later.claim(claim(1))).unwrap().remove(0).updated_at;
    assert!(started > first.created_at);
    assert_eq!(create(&early).created_at, started);
    let mut own = Connection::open(&path).unwrap();
    let transaction = own.transaction().unwrap();
    let new = latest.prepare(NewExecution::new("work")).unwrap();
    let created = latest.store().create_in(&transaction, [new]).unwrap().remove(0).into_execution().created_at;
    transaction.commit().unwrap();
    assert!(created > started);
    assert_eq!(create(&early).created_at, created);
}

#[test]
fn many_may_open_a_new_file_at_once() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executions.db");
        std::thread::scope(|scope| {
            let open = || scope.spawn(|| SqliteStore::open(&path).map(drop));
            let opened: Vec<_> = (0..8).map(|_| open()).collect();
            for opened in opened {
                opened.join().unwrap().unwrap();
            }
        });
        let connection = Connection::open(&path).unwrap();
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 5);
    }
}

/// One execution in each state and with everything that one may have, as version 1 wrote them; and what it said they are.
#[test]
fn files_of_version_1_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("data/v1.sql")).unwrap();
    let before: Vec<Execution> =
        include_str!("data/v1.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let clock = ManualClock::new(Duration::from_secs(1_800_000_000));
    let open = || ExecutionManager::new(Options::new().clock(clock.clone()).open(&path).unwrap());
    run(async {
        let manager = open();
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().executions, before);
        let [pending, .., running] = &before[..3] else { panic!("there are eight") };
        // Its key is taken still, and others have none.
        assert_eq!(
            manager.create(NewExecution::new("pending").idempotency_key("a key")).await.unwrap_err().code(),
            "IDEMPOTENCY_MISMATCH"
        );
        assert_eq!(&manager.find_by_idempotency_key("a key").await.unwrap().unwrap(), pending);
        manager.create(NewExecution::new("new")).await.unwrap();
        // Its holder ends it, under the lease that version 1 gave.
        let ended = manager.under(&running.token()).complete(&running.id, "done").await.unwrap();
        assert_eq!((ended.status, &ended.checkpoints), (ExecutionStatus::Completed, &running.checkpoints));
        clock.advance(Duration::from_secs(600));
        let types: Vec<_> = manager.claim(claim(9)).await.unwrap().into_iter().map(|claimed| claimed.type_).collect();
        assert_eq!(types, ["pending", "new", "retrying", "child"]);
    });
    // It has taken the step, and does not take it again.
    run(async { assert_eq!(open().list(ListOptions::new()).await.unwrap().executions.len(), before.len() + 1) });
}

#[test]
fn checkpoints_are_no_more_than_can_be_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    let by_hand = Connection::open(&path).unwrap();
    run(async {
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        manager.start(&id).await.unwrap();
        let before = manager.checkpoint(&id, "key", "value").await.unwrap();
        by_hand.execute("UPDATE executions SET kept_len = kept_len + 999999980", []).unwrap();
        // What stands under the same key makes room.
        let kept = manager.checkpoint(&id, "key", "other").await.unwrap();
        assert_eq!((kept.version, &kept.checkpoints["key"]), (before.version + 1, &"other".into()));
        let error = manager.checkpoint(&id, "another", "value").await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written()), ("TOO_LARGE", false, Written::Nothing));
        assert_eq!(manager.get(&id).await.unwrap(), kept);
    });
}

#[test]
fn checkpoints_of_version_1_that_cannot_be_read_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let by_hand = Connection::open(&path).unwrap();
    by_hand.execute_batch(include_str!("data/v1.sql")).unwrap();
    by_hand.execute("UPDATE executions SET checkpoints = '{\"half' WHERE type = 'running'", []).unwrap();
    let running: Execution = serde_json::from_str(include_str!("data/v1.jsonl").lines().nth(2).unwrap()).unwrap();
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    run(async {
        assert_eq!(manager.get(&running.id).await.unwrap_err().code(), "CORRUPT");
        assert_eq!(manager.list(ListOptions::new().status(ExecutionStatus::Failed)).await.unwrap().len(), 1);
    });
    let text: String = by_hand.query_row("SELECT value FROM checkpoints", [], |row| row.get(0)).unwrap();
    assert_eq!(text, "{\"half");
}

#[test]
fn what_fails_half_way_has_written_nothing_alone_or_among_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    let by_hand = Connection::open(&path).unwrap();
    let rows = || by_hand.query_row("SELECT count(*) FROM executions", [], |row| row.get::<_, i64>(0)).unwrap();
    // The first is written before the second is found to be one that cannot be read.
    let half = || manager.create_all([NewExecution::new("work"), NewExecution::new("work").idempotency_key("key")]);
    run(async {
        manager.create(NewExecution::new("work").idempotency_key("key")).await.unwrap();
        by_hand.execute("UPDATE executions SET body = 'nothing'", []).unwrap();
        assert_eq!(half().await.unwrap_err().code(), "CORRUPT");
        assert_eq!(rows(), 1);
        // The first holds the thread up at the locked file, so that the others go into one transaction.
        by_hand.execute_batch("BEGIN IMMEDIATE").unwrap();
        let among = async {
            let (first, whole, second) = tokio::join!(half(), manager.create(NewExecution::new("work")), half());
            assert_eq!((first.unwrap_err().code(), second.unwrap_err().code()), ("CORRUPT", "CORRUPT"));
            whole.unwrap();
        };
        let release = async {
            tokio::task::yield_now().await;
            by_hand.execute_batch("COMMIT").unwrap();
        };
        tokio::join!(among, release);
        assert_eq!(rows(), 2);
    });
}

fn refused(path: &Path) -> (&'static str, String, Written) {
    let error = SqliteStore::open(path).expect_err("it is refused");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    (error.code(), source, error.written)
}

#[test]
fn files_of_others_and_of_newer_versions_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);

    Connection::open(path("other")).unwrap().execute_batch("CREATE TABLE users (name TEXT)").unwrap();
    let before = std::fs::read(path("other")).unwrap();
    let (code, source, written) = refused(&path("other"));
    assert_eq!((code, written), ("SCHEMA", Written::Nothing));
    assert!(std::fs::read(path("other")).unwrap() == before, "not even its journal mode has changed");
    let expected = "expected a file of this store, or one that is to be shared (`Options::beside_tables`)";
    assert_eq!(source, format!("{expected}, found one of application 0"));

    drop(SqliteStore::open(path("newer")).unwrap());
    Connection::open(path("newer")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let (code, source, _) = refused(&path("newer"));
    assert_eq!(code, "SCHEMA");
    assert_eq!(source, "expected version 5 or older, found 99: update this program");

    std::fs::write(path("text"), "a,b\n1,2\n".repeat(1000)).unwrap();
    let before = std::fs::read(path("text")).unwrap();
    assert_eq!(refused(&path("text")).0, "CORRUPT");
    assert_eq!(std::fs::read(path("text")).unwrap(), before);

    assert_eq!(refused(&path("no/such/directory")).0, "STORE");
    assert_eq!(refused(directory.path()).0, "STORE");
}

#[test]
fn rows_that_are_no_executions_keep_nobody_from_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    run(async {
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(manager.create(NewExecution::new("work").payload(number).priority(9 - number)).await.unwrap().id);
        }
        let other = Connection::open(&path).unwrap();
        let spoil = |id: &ExecutionId, set: &str| {
            let hex = format!("{id:x}");
            let changed = other.execute(&format!("UPDATE executions SET {set} WHERE hex(id) = upper('{hex}')"), []);
            assert_eq!(changed.unwrap(), 1);
        };
        spoil(&ids[0], "body = '{'");
        spoil(&ids[1], "body = cast(x'ff' AS TEXT)");
        spoil(&ids[2], "payload = '['");
        spoil(&ids[3], "body = replace(body, 'pending', 'paused')");
        let claimed = manager.claim(claim(5)).await.unwrap();
        assert_eq!(claimed.iter().map(|execution| execution.id).collect::<Vec<_>>(), [ids[4]]);
        for id in &ids[..4] {
            let error = manager.get(id).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable(), error.written()), ("CORRUPT", false, Written::Nothing));
            assert_eq!(manager.start(id).await.unwrap_err().code(), "CORRUPT");
        }
        assert_eq!(walk(&manager, ListOptions::new()).await, (vec![ids[4]], ids[..4].to_vec()));
        let (pending, running) = (ExecutionStatus::Pending, ExecutionStatus::Running);
        assert_eq!(walk(&manager, ListOptions::new().status(pending)).await, (vec![], ids[..4].to_vec()));
        assert_eq!(walk(&manager, ListOptions::new().status(running)).await, (vec![ids[4]], vec![]));
        for id in &ids[..4] {
            manager.delete(id).await.unwrap();
        }
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().len(), 1);
    });
}

#[test]
fn rows_that_are_no_executions_are_told_and_left_alone_when_what_has_ended_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let clock = ManualClock::new(Duration::from_secs(1_800_000_000));
    let manager = ExecutionManager::new(Options::new().clock(clock.clone()).open(&path).unwrap());
    run(async {
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(manager.create(NewExecution::new("work")).await.unwrap().id);
            manager.cancel(ids.last().unwrap(), None).await.unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let other = Connection::open(&path).unwrap();
        for (id, set) in [
            (0, "body = '{'"),
            (2, "body = cast(x'ff' AS TEXT)"),
            (5, "id = x'ffffffffffffffffffffffffffffffffff'"),
            (7, "status = 'gone'"),
        ] {
            let spoilt = format!("UPDATE executions SET {set} WHERE hex(id) = upper('{:x}')", ids[id]);
            assert_eq!(other.execute(&spoilt, []).unwrap(), 1);
        }
        clock.advance(Duration::from_secs(1));
        let retention = Duration::from_secs(1).into();
        let (mut deleted, mut unreadable, mut after, mut calls) = (0, 0, None, 0);
        loop {
            let step = manager.store().delete_ended(&retention, after, 1).await.unwrap();
            (deleted, unreadable, calls) = (deleted + step.deleted, unreadable + step.unreadable, calls + 1);
            after = step.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((deleted, unreadable, calls), (4, 3, 9));
        assert_eq!(manager.get(&ids[0]).await.unwrap_err().code(), "CORRUPT");
        manager.delete(&ids[0]).await.unwrap();
        let pruned = manager.prune(retention).await.unwrap();
        assert_eq!((pruned.deleted, pruned.unreadable), (0, 2));
    });
}

#[test]
fn creations_in_a_transaction_of_ones_own_are_there_if_it_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    let mut own = Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE orders (number INTEGER)").unwrap();
    let mut order = |number: i64, commit: bool| {
        let transaction = own.transaction().unwrap();
        transaction.execute("INSERT INTO orders VALUES (?1)", [number]).unwrap();
        let create = manager.prepare(NewExecution::new("invoice").payload(number)).unwrap();
        manager.store().create_in(&transaction, [create]).unwrap();
        if commit { transaction.commit().unwrap() } else { transaction.rollback().unwrap() }
    };
    order(1, false);
    order(2, true);
    let claimed = run(manager.claim(claim(9))).unwrap();
    let payloads: Vec<_> = claimed.iter().map(|execution| execution.payload.as_i64()).collect();
    assert_eq!(payloads, [Some(2)]);
}

#[test]
fn what_an_attempt_writes_in_a_transaction_of_ones_own_is_written_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    let mut own = Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE account (cents INTEGER); INSERT INTO account VALUES (500)").unwrap();
    let id = run(manager.create(NewExecution::new("pay"))).unwrap().id;
    let mut pay = |write: Write, commit: bool| {
        let transaction = own.transaction().unwrap();
        transaction.execute("UPDATE account SET cents = cents - 100", []).unwrap();
        let written = manager.store().settle_in(&transaction, write);
        if commit {
            transaction.commit().unwrap();
        } else {
            transaction.rollback().unwrap();
        }
        let left: i64 = own.query_row("SELECT cents FROM account", [], |row| row.get(0)).unwrap();
        (written.map_err(|error| error.code()), left)
    };
    let first = run(manager.claim(claim(1))).unwrap().remove(0).token();
    let paid = Write::under(first, Command::checkpoint("paid", 100).unwrap());
    assert_eq!(pay(paid.clone(), false), (Ok(()), 500));
    assert!(run(manager.get(&id)).unwrap().checkpoints.is_empty());
    assert_eq!(pay(paid.clone(), true), (Ok(()), 400));
    assert_eq!(run(manager.get(&id)).unwrap().checkpoints["paid"], 100);
    run(manager.under(&first).release(&id, Duration::ZERO)).unwrap();
    let second = run(manager.claim(claim(1))).unwrap().remove(0).token();
    assert_eq!(pay(paid, false), (Err("LEASE_LOST"), 400));
    let done = Command::Complete { result: "paid".into() };
    assert_eq!(pay(Write::under(second, done.clone()), true), (Ok(()), 300));
    // As a worker does whose handler has done that.
    run(manager.under(&second).settle(&id, done)).unwrap();
    let done = run(manager.get(&id)).unwrap();
    assert_eq!((done.status, done.result), (ExecutionStatus::Completed, Some("paid".into())));
}

/// Something goes wrong in the midst of it, and the transaction is committed all the same.
#[test]
fn what_an_attempt_cannot_write_in_a_transaction_of_ones_own_leaves_no_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    let mut own = Connection::open(&path).unwrap();
    let id = run(manager.create(NewExecution::new("pay"))).unwrap().id;
    let lease = run(manager.claim(claim(1))).unwrap().remove(0).token();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'no'); END";
    own.execute_batch(refuse).unwrap();
    let before = run(manager.get(&id)).unwrap();
    let transaction = own.transaction().unwrap();
    let paid = Write::under(lease, Command::checkpoint("paid", 100).unwrap());
    assert_eq!(manager.store().settle_in(&transaction, paid).unwrap_err().code(), "STORE");
    transaction.commit().unwrap();
    assert_eq!(run(manager.get(&id)).unwrap(), before);
}

/// As most who want a transaction of their own have one: its tables were there before, and it counts its own versions.
#[test]
fn executions_may_be_in_a_file_that_an_application_has_made() {
    let directory = tempfile::tempdir().unwrap();
    for (name, sql) in [("made", "CREATE TABLE orders (number INTEGER)"), ("empty", "")] {
        let path = directory.path().join(name);
        let mut own = Connection::open(&path).unwrap();
        own.execute_batch(sql).unwrap();
        for pragma in ["user_version", "application_id"] {
            own.pragma_update(None, pragma, 77).unwrap();
        }
        let opened = || Options::new().beside_tables().open(&path).unwrap();
        let manager = ExecutionManager::new(opened());
        let transaction = own.transaction().unwrap();
        let create = manager.prepare(NewExecution::new("invoice").payload(1)).unwrap();
        manager.store().create_in(&transaction, [create]).unwrap();
        transaction.commit().unwrap();
        drop((manager, opened()));
        // Who knows nothing of it, such as `tracer exec`.
        let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
        assert_eq!(run(manager.claim(claim(9))).unwrap().len(), 1);
        for pragma in ["user_version", "application_id"] {
            let value: i64 = own.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
            assert_eq!(value, 77, "{pragma} of {name}");
        }
        own.execute_batch("UPDATE executions_version SET version = 99").unwrap();
        assert_eq!(refused(&path).1, "expected version 5 or older, found 99: update this program");
    }
}

#[test]
fn tables_of_the_same_names_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let own = [
        ("table", "CREATE TABLE Executions (n INTEGER)"),
        ("other", "CREATE TABLE checkpoints (n INTEGER)"),
        ("index", "CREATE TABLE orders (n INTEGER); CREATE INDEX executions_created ON orders (n)"),
        ("version", "CREATE TABLE executions_version (version INTEGER); INSERT INTO executions_version VALUES (4)"),
    ];
    for (name, sql) in own {
        let path = directory.path().join(name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        for options in [Options::new().beside_tables(), Options::new()] {
            let error = options.open(&path).expect_err("it is refused");
            assert_eq!((error.code(), error.written), ("SCHEMA", Written::Nothing), "{name}");
        }
        assert!(std::fs::read(&path).unwrap() == before, "not even its journal mode has changed");
    }
}

#[test]
fn a_locked_file_is_an_error_that_may_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = run(manager.create(NewExecution::new("work"))).unwrap_err();
    assert_eq!((error.code(), error.is_retryable(), error.written()), ("STORE", true, Written::Nothing));
    other.execute_batch("ROLLBACK").unwrap();
    assert!(run(manager.create(NewExecution::new("work"))).is_ok());
}

/// Several stores on one file, as several processes have them: none executes what another has.
#[test]
fn stores_on_one_file_share_the_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
    run(async {
        let new = (0..400).map(|number| NewExecution::new("work").payload(number));
        manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
        let drain = |_| {
            let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
            tokio::spawn(async move {
                let mut mine = 0;
                loop {
                    let claimed = manager.claim(claim(10)).await.unwrap();
                    if claimed.is_empty() {
                        return mine;
                    }
                    for execution in claimed {
                        let lease = execution.token();
                        manager.under(&lease).complete(&lease.id, ()).await.unwrap();
                        mine += 1;
                    }
                }
            })
        };
        let workers: Vec<_> = (0..4).map(drain).collect();
        let mut done = 0;
        for worker in workers {
            done += worker.await.unwrap();
        }
        assert_eq!(done, 400);
    });
}

/// Whatever order a claim or a sweep takes, it comes from an index that holds only what waits or runs: the cost does not
/// grow with what has ended.
#[test]
fn claims_and_sweeps_go_by_their_indexes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    drop(SqliteStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    for (query, index) in [
        (
            "SELECT due_at, created_at, id, seq FROM executions WHERE type = ?1 AND priority = ?2 AND due_at <= ?3
             ORDER BY due_at, created_at, id LIMIT ?4",
            "executions_due",
        ),
        ("SELECT min(type) FROM executions WHERE due_at IS NOT NULL AND type > ?1", "executions_due"),
        (
            "SELECT max(priority) FROM executions WHERE due_at IS NOT NULL AND type = ?1 AND priority < ?2",
            "executions_due",
        ),
        ("SELECT seq FROM executions WHERE sweep_at <= ?1 ORDER BY sweep_at, id LIMIT ?2", "executions_sweep"),
        ("SELECT min(sweep_at) FROM executions WHERE sweep_at IS NOT NULL", "executions_sweep"),
        ("SELECT seq FROM executions WHERE TRUE ORDER BY created_at, id LIMIT 9", "executions_created"),
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let count = statement.parameter_count();
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{query}: {plan}");
    }
}

/// Not a test: what the next one kills. Creates, claims, completes, and says what was acknowledged.
#[test]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os("TRACER_SQLITE_KILLED") else { return };
    run(async move {
        let manager = ExecutionManager::new(SqliteStore::open(path).unwrap());
        loop {
            let new = (0..8).map(|number| NewExecution::new("work").payload(number));
            for created in manager.create_all(new.collect::<Vec<_>>()).await.unwrap() {
                println!("\nack {} {}", created.as_ref().unwrap().id, created.as_ref().unwrap().version);
            }
            for execution in manager.claim(claim(5)).await.unwrap() {
                println!("\nack {} {}", execution.id, execution.version);
                let lease = execution.token();
                let done = manager.under(&lease).complete(&lease.id, "done").await.unwrap();
                println!("\nack {} {}", done.id, done.version);
            }
        }
    });
}

fn kill_in_the_midst(path: &Path, after: usize) -> BTreeMap<ExecutionId, u64> {
    let mut child = process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env("TRACER_SQLITE_KILLED", path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = BTreeMap::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (number, line) in lines.map_while(Result::ok).filter(|line| line.starts_with("ack ")).enumerate() {
        if number == after {
            child.kill().unwrap();
        }
        let [_, id, version] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        // The last line may be torn.
        if let (Ok(id), Ok(version)) = (id.parse(), version.parse()) {
            acknowledged.insert(id, version);
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[test]
fn acknowledged_writes_survive_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("executions.db");
    let mut acknowledged = BTreeMap::new();
    for round in 0..12 {
        acknowledged.extend(kill_in_the_midst(&path, 3 + round * 17));
        let manager = ExecutionManager::new(SqliteStore::open(&path).unwrap());
        run(async {
            for (id, version) in &acknowledged {
                let found = manager.get(id).await.unwrap();
                assert!(found.version >= *version, "round {round}: {id} was acknowledged at {version}: {found:?}");
            }
        });
    }
    assert!(acknowledged.len() > 300, "{} executions were acknowledged", acknowledged.len());
    // Nothing is stuck: what the dead held is taken over, and all ends.
    let clock = ManualClock::new(Duration::from_secs(4_000_000_000));
    let manager = ExecutionManager::new(Options::new().clock(clock.clone()).open(&path).unwrap());
    run(async {
        manager.tick().await.unwrap();
        loop {
            let claimed = manager.claim(claim(1000)).await.unwrap();
            if claimed.is_empty() {
                break;
            }
            for execution in claimed {
                let lease = execution.token();
                manager.under(&lease).complete(&lease.id, ()).await.unwrap();
            }
        }
        for status in [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Retrying] {
            assert!(manager.list(ListOptions::new().status(status)).await.unwrap().is_empty());
        }
    });
}

#[test]
fn options_say_what_survives() {
    let directory = tempfile::tempdir().unwrap();
    let survives = |options: Options| -> Result<Survives, StoreError> {
        Ok(options.open(directory.path().join("executions.db"))?.capabilities().survives)
    };
    assert_eq!(survives(Options::new()).unwrap(), Survives::Kill);
    assert_eq!(survives(Options::new().survives(Survives::Nothing)).unwrap(), Survives::Kill);
    assert_eq!(survives(Options::new().survives(Survives::PowerLoss)).unwrap(), Survives::PowerLoss);
}

#[test]
fn what_is_no_file_is_refused() {
    for path in [":memory:", ""] {
        let error = SqliteStore::open(path).unwrap_err();
        assert_eq!((error.code(), error.written), ("STORE", Written::Nothing));
        let found = format!("expected the path of a file, found `{path}`: `MemoryStore` needs none");
        assert_eq!(error.source.to_string(), found);
    }
}
