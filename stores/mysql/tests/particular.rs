//! What is particular to MySQL: its clock, its tables, transactions of others, connections that fail, a server that dies.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, IsolationLevel, Opts, OptsBuilder, Row, TxOpts};
use serde_json::json;
use tracer::ManualClock;
use tracer::execution::{
    Claim, Command, Execution, ExecutionError, ExecutionId, ExecutionManager, ExecutionStatus, ExecutionStore,
    ListOptions, MemoryStore, NewExecution, Parts, Survives, Timestamp, Write, Written,
};
use tracer_mysql::MysqlStore;
use tracer_store_conformance::server::{self as servers, Place, free_port};
use tracer_store_conformance::{Proxy, Target, Weather, walk};

/// Longer than any test takes: what a broken store would wait for is not waited for.
const TEST_MAX: Duration = Duration::from_secs(120);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(TEST_MAX, test).await.expect("no test waits for ever") })
}

fn claim(limit: u32) -> Claim {
    let worker = "worker".to_owned();
    Claim { types: Vec::new(), only: None, limit, worker, lease: Duration::from_secs(30) }
}

async fn manager(opts: &Opts) -> ExecutionManager<MysqlStore> {
    ExecutionManager::new(MysqlStore::connect(opts.clone()).await.unwrap())
}

/// What an error says to who has to decide what to do next.
fn told(error: &ExecutionError) -> (&'static str, bool, Written) {
    (error.code(), error.is_retryable(), error.written())
}

#[test]
fn tables_of_version_1_go_on() {
    run(async {
        let opts = server::opts("version_1").await;
        let memory = ExecutionManager::new(MemoryStore::default());
        let mut running = Vec::new();
        for number in 0..250 {
            let id = memory.create(NewExecution::new("work").payload(number)).await.unwrap().id;
            memory.start(&id).await.unwrap();
            memory.checkpoint(&id, "a \"key\" \\", json!({"number": number, "text": "é\n"})).await.unwrap();
            running.push(memory.checkpoint(&id, "another", number).await.unwrap());
        }
        let mut other = Conn::new(opts.clone()).await.unwrap();
        other.query_drop(include_str!("data/v1.sql")).await.unwrap();
        let insert = "INSERT INTO tracer_executions (id, type, status, urgency, created_at, body, payload, checkpoints)
                      VALUES (UNHEX(?), 'work', 'running', 0, ?, ?, ?, ?)";
        let row = |execution: &Execution| {
            let Parts { body, payload, checkpoints, .. } = Parts::of(execution);
            (format!("{:x}", execution.id), execution.created_at.unix_ms(), body, payload, checkpoints)
        };
        other.exec_batch(insert, running.iter().map(row)).await.unwrap();
        let unreadable = memory.create(NewExecution::new("work")).await.unwrap();
        let half = (format!("{:x}", unreadable.id), 0, Parts::of(&unreadable).body, None::<String>, "{\"half");
        other.exec_drop(insert, half).await.unwrap();
        other.query_drop("CREATE TABLE tracer_schema (single INT PRIMARY KEY, version BIGINT NOT NULL)").await.unwrap();
        // Also by one that dies before it has counted its steps, and by several at once.
        for taken in 1..4 {
            other.query_drop(format!("REPLACE INTO tracer_schema VALUES (1, {taken})")).await.unwrap();
            let connecting: Vec<_> = (0..4).map(|_| tokio::spawn(MysqlStore::connect(opts.clone()))).collect();
            for connected in connecting {
                let manager = ExecutionManager::new(connected.await.unwrap().unwrap());
                assert_eq!(manager.get(&unreadable.id).await.unwrap_err().code(), "CORRUPT");
                for before in &running {
                    assert_eq!(&manager.get(&before.id).await.unwrap(), before);
                }
            }
        }
        let kept = "SELECT CAST(value AS CHAR) FROM tracer_checkpoints WHERE name = ''";
        assert_eq!(other.query::<String, _>(kept).await.unwrap(), ["{\"half"]);
    });
}

#[test]
fn checkpoints_are_no_more_than_can_be_read_again() {
    run(async {
        let opts = server::opts("many_checkpoints").await;
        let manager = manager(&opts).await;
        let limit = manager.store().capabilities().value_len_bytes_max.unwrap();
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        manager.start(&id).await.unwrap();
        // More than the server would put together by itself.
        let large = "x".repeat(usize::try_from(limit / 2).unwrap() - 100);
        manager.checkpoint(&id, "first", &large).await.unwrap();
        let before = manager.checkpoint(&id, "second", &large).await.unwrap();
        assert_eq!((&before.checkpoints["first"], &before.checkpoints["second"]), (&json!(large), &json!(large)));
        // What stands under the same key makes room.
        let kept = manager.checkpoint(&id, "second", &large[1..]).await.unwrap();
        let error = manager.checkpoint(&id, "third", "x".repeat(300)).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        assert_eq!(manager.get(&id).await.unwrap(), kept);
        manager.complete(&id, 1).await.unwrap();
        manager.delete(&id).await.unwrap();
        let mut other = Conn::new(opts).await.unwrap();
        assert_eq!(other.query_first("SELECT COUNT(*) FROM tracer_checkpoints").await.unwrap(), Some(0));
    });
}

#[test]
fn time_is_the_servers_whatever_the_zone() {
    run(async {
        let opts = server::opts("clock").await;
        let zone = OptsBuilder::from_opts(opts.clone()).setup(vec!["SET time_zone = '-09:30'"]).into();
        let manager = manager(&zone).await;
        let mut other = Conn::new(opts).await.unwrap();
        let mut now = async || {
            let ms: u64 = other.query_first("SELECT FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)").await.unwrap().unwrap();
            Timestamp::from_unix_ms(ms)
        };
        let before = now().await;
        let created = manager.create(NewExecution::new("work").delay(Duration::from_secs(3600))).await.unwrap();
        assert!((before..=now().await).contains(&created.created_at));
        assert_eq!(created.run_at, created.created_at.after(Duration::from_secs(3600)));
        assert!(manager.claim(claim(1)).await.unwrap().is_empty());
    });
}

#[test]
fn rows_that_are_no_executions_keep_nobody_from_the_others() {
    run(async {
        let opts = server::opts("corrupt").await;
        let manager = manager(&opts).await;
        let mut ids = Vec::new();
        for number in 0..5 {
            let new = NewExecution::new("work").payload(number).priority(9 - number);
            ids.push(manager.create(new).await.unwrap().id);
        }
        let mut other = Conn::new(opts).await.unwrap();
        let mut spoil = async |id: &ExecutionId, set: &str| {
            let hex = format!("{id:x}");
            other.query_drop(format!("UPDATE tracer_executions SET {set} WHERE id = x'{hex}'")).await.unwrap();
            assert_eq!(other.affected_rows(), 1);
        };
        spoil(&ids[0], "body = '{'").await;
        spoil(&ids[1], "body = x'ff'").await;
        spoil(&ids[2], "payload = '['").await;
        spoil(&ids[3], "body = REPLACE(body, 'pending', 'paused')").await;
        let claimed = manager.claim(claim(5)).await.unwrap();
        assert_eq!(claimed.iter().map(|execution| execution.id).collect::<Vec<_>>(), [ids[4]]);
        for id in &ids[..4] {
            assert_eq!(told(&manager.get(id).await.unwrap_err()), ("CORRUPT", false, Written::Nothing));
            assert_eq!(told(&manager.start(id).await.unwrap_err()), ("CORRUPT", false, Written::Nothing));
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
    run(async {
        let opts = server::opts("old").await;
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = MysqlStore::connect(opts.clone()).await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let mut ids = Vec::new();
        for _ in 0..6 {
            let id = manager.create(NewExecution::new("work")).await.unwrap().id;
            manager.start(&id).await.unwrap();
            manager.checkpoint(&id, "key", 1).await.unwrap();
            manager.complete(&id, 1).await.unwrap();
            ids.push(id);
            clock.advance(Duration::from_millis(1));
        }
        let mut other = Conn::new(opts).await.unwrap();
        for (id, set) in [(0, "body = '{'"), (3, "id = REPEAT(CHAR(0), 16)"), (5, "status = 'gone'")] {
            let spoil = format!("UPDATE tracer_executions SET {set} WHERE id = x'{:x}'", ids[id]);
            other.query_drop(spoil).await.unwrap();
            assert_eq!(other.affected_rows(), 1);
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
        assert_eq!((deleted, unreadable, calls), (3, 2, 7));
        manager.delete(&ids[0]).await.unwrap();
        let pruned = manager.prune(retention).await.unwrap();
        assert_eq!((pruned.deleted, pruned.unreadable), (0, 1));
        let kept: Option<u32> = other.query_first("SELECT COUNT(*) FROM tracer_executions").await.unwrap();
        assert_eq!(kept, Some(2));
        let kept: Option<u32> = other.query_first("SELECT COUNT(*) FROM tracer_checkpoints").await.unwrap();
        assert_eq!(kept, Some(2));
    });
}

#[test]
fn creations_in_a_transaction_of_ones_own_are_there_if_it_is_committed() {
    run(async {
        let opts = server::opts("outbox").await;
        let manager = manager(&opts).await;
        // As others have their connections: rows that were found count as changed, and nothing is as this crate sets it.
        let theirs = OptsBuilder::from_opts(opts).client_found_rows(true);
        let mut other = Conn::new(theirs).await.unwrap();
        other.query_drop("CREATE TABLE orders (number INT)").await.unwrap();
        for (number, commit) in [(1, false), (2, true)] {
            let mut repeatable = TxOpts::default();
            repeatable.with_isolation_level(IsolationLevel::RepeatableRead);
            let mut transaction = other.start_transaction(repeatable).await.unwrap();
            transaction.query_drop(format!("INSERT INTO orders VALUES ({number})")).await.unwrap();
            let seen: Vec<u32> = transaction.query("SELECT 1 FROM tracer_executions").await.unwrap();
            assert!(seen.is_empty());
            // Somebody else takes a key after this transaction has begun to see.
            let key = format!("key-{number}");
            let taken = manager.create(NewExecution::new("invoice").payload(9).idempotency_key(&key)).await.unwrap();
            let new = [
                NewExecution::new("invoice").payload(number),
                NewExecution::new("invoice").payload(9).idempotency_key(&key),
            ];
            let create: Vec<_> = new.into_iter().map(|new| manager.prepare(new).unwrap()).collect();
            let created = manager.store().create_in(&mut transaction, &create).await.unwrap();
            assert_eq!(created[1].clone().into_execution(), taken);
            if commit {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
            manager.delete(&taken.id).await.unwrap();
        }
        let claimed = manager.claim(claim(9)).await.unwrap();
        assert_eq!(claimed.iter().map(|it| it.payload.as_i64()).collect::<Vec<_>>(), [Some(2)]);
    });
}

#[test]
fn what_an_attempt_writes_in_a_transaction_of_ones_own_is_written_with_it() {
    run(async {
        let opts = server::opts("effects").await;
        let manager = manager(&opts).await;
        let mut other = Conn::new(OptsBuilder::from_opts(opts).client_found_rows(true)).await.unwrap();
        other.query_drop("CREATE TABLE account (cents INT)").await.unwrap();
        other.query_drop("INSERT INTO account VALUES (500)").await.unwrap();
        let id = manager.create(NewExecution::new("pay")).await.unwrap().id;
        let mut pay = async |write: Write, commit: bool| {
            let mut transaction = other.start_transaction(TxOpts::default()).await.unwrap();
            transaction.query_drop("UPDATE account SET cents = cents - 100").await.unwrap();
            let written = manager.store().settle_in(&mut transaction, write).await;
            if commit {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
            let left: Option<i32> = other.query_first("SELECT cents FROM account").await.unwrap();
            (written.map_err(|error| error.code()), left.unwrap())
        };
        let first = manager.claim(claim(1)).await.unwrap().remove(0).token();
        let paid = Write::under(first, Command::checkpoint("paid", 100).unwrap());
        assert_eq!(pay(paid.clone(), false).await, (Ok(()), 500));
        assert!(manager.get(&id).await.unwrap().checkpoints.is_empty());
        assert_eq!(pay(paid.clone(), true).await, (Ok(()), 400));
        assert_eq!(manager.get(&id).await.unwrap().checkpoints["paid"], 100);
        manager.under(&first).release(&id, Duration::ZERO).await.unwrap();
        let second = manager.claim(claim(1)).await.unwrap().remove(0).token();
        assert_eq!(pay(paid, false).await, (Err("LEASE_LOST"), 400));
        let done = Command::Complete { result: "paid".into() };
        assert_eq!(pay(Write::under(second, done.clone()), true).await, (Ok(()), 300));
        // As a worker does whose handler has done that.
        manager.under(&second).settle(&id, done).await.unwrap();
        let done = manager.get(&id).await.unwrap();
        assert_eq!((done.status, done.result), (ExecutionStatus::Completed, Some("paid".into())));
    });
}

/// Something goes wrong in the midst of it, and the transaction is committed all the same.
#[test]
fn what_an_attempt_cannot_write_in_a_transaction_of_ones_own_leaves_no_half() {
    run(async {
        let opts = server::opts("halves").await;
        let manager = manager(&opts).await;
        let mut other = Conn::new(opts).await.unwrap();
        let id = manager.create(NewExecution::new("pay")).await.unwrap().id;
        let lease = manager.claim(claim(1)).await.unwrap().remove(0).token();
        let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON tracer_executions FOR EACH ROW SIGNAL SQLSTATE '45000'";
        other.query_drop(refuse).await.unwrap();
        let mut transaction = other.start_transaction(TxOpts::default()).await.unwrap();
        let paid = Write::under(lease, Command::checkpoint("paid", 100).unwrap());
        assert_eq!(manager.store().settle_in(&mut transaction, paid).await.unwrap_err().code(), "STORE");
        transaction.commit().await.unwrap();
        assert!(manager.get(&id).await.unwrap().checkpoints.is_empty());
        let kept: Vec<Row> = other.query("SELECT * FROM tracer_checkpoints").await.unwrap();
        assert!(kept.is_empty());
    });
}

/// The last of three is refused when another has been created, and the transaction is committed all the same.
#[test]
fn what_cannot_be_created_in_a_transaction_of_ones_own_leaves_no_half() {
    run(async {
        let opts = server::opts("half_created").await;
        let manager = manager(&opts).await;
        let mut other = Conn::new(opts).await.unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON tracer_executions FOR EACH ROW
            IF NEW.type = 'bad' THEN SIGNAL SQLSTATE '45000'; END IF";
        other.query_drop(refuse).await.unwrap();
        let new = |type_: &str, key| NewExecution::new(type_).idempotency_key(key);
        let there = manager.create(new("good", "1")).await.unwrap();
        let new = [new("good", "1"), new("good", "2"), new("bad", "3")];
        let create = new.map(|new| manager.prepare(new).unwrap());
        let mut transaction = other.start_transaction(TxOpts::default()).await.unwrap();
        assert_eq!(manager.store().create_in(&mut transaction, &create).await.unwrap_err().code(), "STORE");
        transaction.commit().await.unwrap();
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().executions, [there]);
    });
}

/// Whatever order a claim, a sweep or a list takes, it comes from an index: the cost of the first two does not grow with what
/// has ended. What is looked at is what the store has asked.
#[test]
fn claims_sweeps_and_lists_go_by_their_indexes() {
    run(async {
        let opts = server::opts("plans").await;
        let manager = manager(&opts).await;
        let mut other = Conn::new(opts).await.unwrap();
        let parent = manager.create(NewExecution::new("parent")).await.unwrap().id;
        let new = |number: u32| NewExecution::new("work").payload(number).timeout(Duration::from_secs(9));
        for hundred in 0..20 {
            manager.create_all((0..100).map(|number| new(hundred * 100 + number)).collect::<Vec<_>>()).await.unwrap();
        }
        manager.claim(claim(50)).await.unwrap();
        // What has ended is most of it.
        let ended = "UPDATE tracer_executions SET due_type = NULL, due_at = NULL WHERE ORD(RIGHT(id, 1)) % 10 <> 0";
        other.query_drop(ended).await.unwrap();
        other.query_drop("ANALYZE TABLE tracer_executions").await.unwrap();
        other.query_drop("SET GLOBAL log_output = 'TABLE'").await.unwrap();
        other.query_drop("SET GLOBAL general_log = ON").await.unwrap();
        manager.claim(claim(9)).await.unwrap();
        manager.tick().await.unwrap();
        manager.list(ListOptions::new().limit(9)).await.unwrap();
        manager.list(ListOptions::new().limit(9).parent(parent)).await.unwrap();
        manager.list(ListOptions::new().limit(9).dead_letters()).await.unwrap();
        other.query_drop("SET GLOBAL general_log = OFF").await.unwrap();
        let asked = "SELECT DISTINCT CAST(argument AS BINARY) FROM mysql.general_log
                     WHERE command_type = 'Execute' AND argument LIKE '%SELECT%FROM tracer_executions%ORDER BY%'
                     AND thread_id IN (SELECT id FROM information_schema.processlist WHERE db = DATABASE())";
        let asked: Vec<Vec<u8>> = other.query(asked).await.unwrap();
        let mut indexes = BTreeSet::new();
        for query in asked {
            // MariaDB tells the values of some only.
            let query = String::from_utf8_lossy(&query).replace("due_type = ?", "due_type = 'work'");
            let query = query.replace("due_type > ?", "due_type > 'a'").replace('?', "5");
            let plan: Vec<mysql_async::Row> =
                other.query(format!("EXPLAIN FORMAT = TRADITIONAL {query}")).await.unwrap();
            let row = plan.iter().find(|row| row.get::<u32, _>("id") == Some(1)).unwrap();
            let extra: Option<String> = row.get("Extra").unwrap();
            let extra = extra.unwrap_or_default();
            assert!(!extra.contains("filesort") && !extra.contains("temporary"), "{query}: {plan:?}");
            let key: Option<String> = row.get("key").unwrap();
            indexes.insert(key.unwrap_or_else(|| panic!("{query}: {plan:?}")));
        }
        let all = ["created", "dead", "due", "parent", "sweep"].map(|index| format!("tracer_executions_{index}"));
        assert!(indexes.iter().eq(&all), "{indexes:?}");
    });
}

/// However many have ended since, and however many wait; nor what was looked at before.
#[test]
fn only_what_may_have_to_go_is_looked_at() {
    run(async {
        let opts = server::opts("young").await;
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = MysqlStore::connect(opts.clone()).await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let create = async |count| {
            for created in manager.create_all((0..count).map(|_| NewExecution::new("work"))).await.unwrap() {
                created.unwrap();
            }
        };
        create(50).await;
        clock.advance(Duration::from_secs(60));
        for _ in 0..10 {
            create(500).await;
        }
        let mut other = Conn::new(opts).await.unwrap();
        other.query_drop("ANALYZE TABLE tracer_executions").await.unwrap();
        // MariaDB counts for itself, MySQL always.
        let of_mariadb = "SELECT CAST(SUM(rows_read) AS SIGNED) FROM information_schema.table_statistics
                          WHERE table_schema = DATABASE() AND table_name = 'tracer_executions'";
        let of_mysql = "SELECT CAST(SUM(count_fetch) AS SIGNED) FROM performance_schema.table_io_waits_summary_by_table
                        WHERE object_schema = DATABASE() AND object_name = 'tracer_executions'";
        let is_counted = other.query_drop("SET GLOBAL userstat = 1").await.is_ok();
        let query = if is_counted { of_mariadb } else { of_mysql };
        let mut rows_read = async || other.query_first::<Option<i64>, _>(query).await.unwrap().flatten().unwrap_or(0);
        let mut after = None;
        for (limit, looked) in [(40, 40), (500, 10)] {
            let before = rows_read().await;
            let step = manager.store().delete_ended(&Duration::from_secs(30).into(), after, limit).await.unwrap();
            let read = rows_read().await - before;
            assert!((looked..=looked + 2).contains(&read), "{read}");
            assert_eq!((step.deleted, step.next.is_some()), (0, looked == 40));
            after = step.next;
        }
    });
}

#[test]
fn values_that_are_too_large_are_refused_and_the_limit_is_named() {
    run(async {
        let opts = server::opts("large").await;
        let manager = manager(&opts).await;
        let limit = usize::try_from(manager.store().capabilities().value_len_bytes_max.unwrap()).unwrap();
        let mut other = Conn::new(opts).await.unwrap();
        let packet: usize = other.query_first("SELECT @@max_allowed_packet").await.unwrap().unwrap();
        assert_eq!(limit, (packet - (1 << 16)) / 4);
        let fits = "x".repeat(limit - 2);
        let id = manager.create(NewExecution::new("work").payload(&fits)).await.unwrap().id;
        let error = manager.create(NewExecution::new("work").payload(format!("{fits}x"))).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            format!(
                "expected a value of at most {limit} bytes of JSON, a quarter of max_allowed_packet, found {}",
                limit + 1
            )
        );
        manager.start(&id).await.unwrap();
        assert_eq!(told(&manager.complete(&id, format!("{fits}x")).await.unwrap_err()).0, "TOO_LARGE");
        // All that one execution may have can be read, and many of them written at once.
        manager.checkpoint(&id, "k", &fits[..limit - 8]).await.unwrap();
        assert_eq!(manager.complete(&id, &fits).await.unwrap(), manager.get(&id).await.unwrap());
        let many = (0..8).map(|_| NewExecution::new("work").payload(&fits));
        for created in manager.create_all(many.collect::<Vec<_>>()).await.unwrap() {
            created.unwrap();
        }
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().len(), 9);
    });
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_may_be_repeated() {
    run(async {
        let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(free_port().unwrap());
        let error = MysqlStore::connect(opts).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
    });
}

/// A store behind a network that fails.
async fn behind(opts: &Opts) -> (Proxy, ExecutionManager<MysqlStore>) {
    let proxy = Proxy::to(Target::Socket(opts.socket().unwrap().into())).await.unwrap();
    let through = OptsBuilder::from_opts(opts.clone()).socket::<String>(None).prefer_socket(false);
    let through = through.ip_or_hostname("127.0.0.1").tcp_port(proxy.port());
    (proxy, ExecutionManager::new(MysqlStore::connect(through).await.unwrap()))
}

#[test]
fn connections_that_fail_are_errors_that_say_what_was_written() {
    run(async {
        let opts = server::opts("lost").await;
        let (proxy, manager) = behind(&opts).await;
        // Where no answer will come. One that will may take long on a busy machine.
        let hasty = ExecutionManager::new(manager.store().clone().with_patience(Duration::from_millis(500)));
        let create = manager.prepare(NewExecution::new("work").payload(1)).unwrap();
        for weather in [Weather::AnswersLost, Weather::Silent] {
            proxy.weather(weather);
            let error = hasty.store().create(vec![create.clone()]).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
            assert_eq!(told(&hasty.get(&create.id()).await.unwrap_err()), ("STORE", true, Written::Nothing));
            proxy.weather(Weather::Fine);
            assert_eq!(manager.get(&create.id()).await.unwrap_err().code(), "NOT_FOUND");
        }
        assert!(proxy.cut() >= 4, "{}", proxy.cut());
        // Cut while they are free, as by a restart: the next call has others, and nobody notices.
        manager.store().create(vec![create.clone()]).await.unwrap();
        let mut other = Conn::new(opts).await.unwrap();
        let threads: Vec<u64> = other
            .query("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
            .await
            .unwrap();
        assert!(!threads.is_empty());
        for thread in threads {
            other.query_drop(format!("KILL {thread}")).await.unwrap();
        }
        assert_eq!(manager.get(&create.id()).await.unwrap().status, ExecutionStatus::Pending);
    });
}

/// Workers on connections that are cut all the time: nothing is lost, nothing is done twice in the store. Some commits
/// arrive of which nobody learns.
#[test]
fn what_was_acknowledged_survives_connections_that_are_cut() {
    run(async {
        const JOBS: usize = 300;
        let opts = server::opts("cut").await;
        let (proxy, manager) = behind(&opts).await;
        let new = (0..JOBS).map(|number| NewExecution::new("work").payload(number).max_attempts(50));
        manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
        let weather = tokio::spawn(async move {
            loop {
                for (weather, ms) in [(Weather::AnswersLost, 2), (Weather::Fine, 20)] {
                    proxy.weather(weather);
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
            }
        });
        let work = |_| {
            let manager = manager.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                let mut unknown = 0;
                let mut errors = 0;
                for _ in 0..60 {
                    let short = Claim { lease: Duration::from_millis(200), ..claim(10) };
                    let Ok(claimed) = manager.claim(short).await else {
                        errors += 1;
                        continue;
                    };
                    for execution in claimed {
                        let lease = execution.token();
                        match manager.under(&lease).complete(&lease.id, lease.epoch).await {
                            Ok(_) => acknowledged.push((lease.id, lease.epoch)),
                            Err(error) => {
                                assert!(matches!(error.code(), "STORE" | "LEASE_LOST"), "{error}");
                                errors += 1;
                                unknown += u32::from(error.written() == Written::Unknown);
                            }
                        }
                    }
                    let _ = manager.tick().await;
                }
                (acknowledged, errors, unknown)
            })
        };
        let workers: Vec<_> = (0..4).map(work).collect();
        let mut acknowledged = BTreeMap::new();
        let (mut errors, mut unknown) = (0, 0);
        for worker in workers {
            let (done, failed, left_open) = worker.await.unwrap();
            errors += failed;
            unknown += left_open;
            for (id, epoch) in done {
                assert_eq!(acknowledged.insert(id, epoch), None, "{id} was completed twice");
            }
        }
        weather.abort();
        assert!(errors > 0, "no connection was cut in the midst of anything");
        assert!(unknown > 0, "of {errors} errors, none was of a commit");
        let manager = self::manager(&opts).await;
        for (id, epoch) in &acknowledged {
            let execution = manager.get(id).await.unwrap();
            assert_eq!((execution.status, execution.result), (ExecutionStatus::Completed, Some((*epoch).into())));
        }
        let all = manager.list(ListOptions::new().limit(1000)).await.unwrap();
        assert_eq!(all.len(), JOBS);
        assert!(all.iter().all(|execution| execution.attempts <= 50));
    });
}

#[test]
fn what_was_acknowledged_survives_the_servers_death() {
    run(async {
        let mut server = servers::mariadb(Place::new(), &[]);
        let opts = server::new_database(&server, "death").await;
        let manager = manager(&opts).await;
        assert_eq!(manager.store().capabilities().survives, Survives::PowerLoss);
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            let working = manager.clone();
            let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
            let work = tokio::spawn(async move {
                loop {
                    let Ok(created) = working.create(NewExecution::new("work").payload(round)).await else { break };
                    let _ = said.send((created.id, created.version));
                    let Ok(started) = working.start(&created.id).await else { break };
                    let _ = said.send((started.id, started.version));
                }
            });
            for _ in 0..30 {
                acknowledged.push(hears.recv().await.unwrap());
            }
            let place = server.kill();
            work.await.unwrap();
            while let Ok(more) = hears.try_recv() {
                acknowledged.push(more);
            }
            server = servers::mariadb(place, &[]);
            server::ready(&server, &OptsBuilder::from_opts(opts.clone())).await;
            // The same store goes on, though its connections are gone.
            for (id, version) in &acknowledged {
                assert!(manager.get(id).await.unwrap().version >= *version);
            }
        }
    });
}
