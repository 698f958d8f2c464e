//! What is particular to PostgreSQL: its clock, its schema, many processes at once, connections that are cut.

mod run;
mod server;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::NoTls;
use tracer::ManualClock;
use tracer::execution::{
    Claim, Command, ExecutionManager, ExecutionStatus, ExecutionStore, Failure, ListOptions, NewExecution, Timestamp,
    Write, Written,
};
use tracer_postgres::PostgresStore;
use tracer_store_conformance::walk;
use tracer_workers::{Attempt, Running, Worker};

use run::run;

fn claim(limit: u32) -> Claim {
    let worker = "worker".to_owned();
    Claim { types: Vec::new(), only: None, limit, worker, lease: Duration::from_secs(30) }
}

async fn client(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn many_may_begin_at_once_and_newer_tables_are_left_alone() {
    run(async {
        let config = server::config("migrations").await;
        let connect = |_| tokio::spawn(PostgresStore::connect(config.clone(), NoTls));
        let connecting: Vec<_> = (0..8).map(connect).collect();
        for connected in connecting {
            connected.await.unwrap().unwrap();
        }
        client(&config).await.execute("UPDATE tracer_schema SET version = 99", &[]).await.unwrap();
        let error = PostgresStore::connect(config, NoTls).await.unwrap_err();
        assert_eq!((error.code(), error.written), ("SCHEMA", Written::Nothing));
        assert_eq!(error.source.to_string(), "expected version 6 or older, found 99: update this program");
    });
}

#[test]
fn checkpoints_are_no_more_than_can_be_read_again() {
    run(async {
        let config = server::config("many_checkpoints").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        manager.start(&id).await.unwrap();
        let before = manager.checkpoint(&id, "key", "value").await.unwrap();
        let by_hand = "UPDATE tracer_executions SET kept_len = kept_len + 999999980";
        client(&config).await.execute(by_hand, &[]).await.unwrap();
        // What stands under the same key makes room.
        let kept = manager.checkpoint(&id, "key", "other").await.unwrap();
        assert_eq!((kept.version, &kept.checkpoints["key"]), (before.version + 1, &"other".into()));
        let error = manager.checkpoint(&id, "another", "value").await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written()), ("TOO_LARGE", false, Written::Nothing));
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(why.contains("at most 1000000000 bytes of checkpoints, found 10000000"), "{why}");
        assert_eq!(manager.get(&id).await.unwrap(), kept);
        manager.complete(&id, 1).await.unwrap();
        manager.delete(&id).await.unwrap();
        let left = client(&config).await.query_one("SELECT count(*) FROM tracer_checkpoints", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 0);
    });
}

#[test]
fn time_is_the_servers() {
    run(async {
        let config = server::config("clock").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        let client = client(&config).await;
        let now = async || {
            let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            let ms: i64 = client.query_one(query, &[]).await.unwrap().get(0);
            Timestamp::from_unix_ms(ms.try_into().unwrap())
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
        let config = server::config("corrupt").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        let bad = manager.create(NewExecution::new("work").priority(1)).await.unwrap().id;
        let good = manager.create(NewExecution::new("work")).await.unwrap().id;
        let spoil = format!("UPDATE tracer_executions SET body = '{{' WHERE encode(id, 'hex') = '{bad:x}'");
        assert_eq!(client(&config).await.execute(&spoil, &[]).await.unwrap(), 1);
        let claimed = manager.claim(claim(5)).await.unwrap();
        assert_eq!(claimed.iter().map(|execution| execution.id).collect::<Vec<_>>(), [good]);
        let error = manager.get(&bad).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written()), ("CORRUPT", false, Written::Nothing));
        assert_eq!(walk(&manager, ListOptions::new()).await, (vec![good], vec![bad]));
        let (pending, running) = (ExecutionStatus::Pending, ExecutionStatus::Running);
        assert_eq!(walk(&manager, ListOptions::new().status(pending)).await, (vec![], vec![bad]));
        assert_eq!(walk(&manager, ListOptions::new().status(running)).await, (vec![good], vec![]));
        manager.delete(&bad).await.unwrap();
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().len(), 1);
    });
}

#[test]
fn rows_that_are_no_executions_are_told_and_left_alone_when_what_has_ended_goes() {
    run(async {
        let config = server::config("old").await;
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = PostgresStore::connect(config.clone(), NoTls).await.unwrap().with_clock(clock.clone());
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
        let other = client(&config).await;
        for (id, set) in [(0, "body = '{'"), (3, "id = decode(repeat('ff', 17), 'hex')"), (5, "body_status = 'gone'")] {
            let spoil = format!("UPDATE tracer_executions SET {set} WHERE encode(id, 'hex') = '{:x}'", ids[id]);
            assert_eq!(other.execute(&spoil, &[]).await.unwrap(), 1);
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
        let kept = other.query_one("SELECT count(*) FROM tracer_executions", &[]).await.unwrap();
        assert_eq!(kept.get::<_, i64>(0), 2);
        let kept = other.query_one("SELECT count(*) FROM tracer_checkpoints", &[]).await.unwrap();
        assert_eq!(kept.get::<_, i64>(0), 2);
    });
}

/// However many have ended since, and however many wait.
#[test]
fn what_is_too_young_to_go_is_not_looked_at() {
    run(async {
        let config = server::config("young").await;
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = PostgresStore::connect(config.clone(), NoTls).await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let create = async |count| {
            for created in manager.create_all((0..count).map(|_| NewExecution::new("work"))).await.unwrap() {
                created.unwrap();
            }
        };
        create(50).await;
        clock.advance(Duration::from_secs(60));
        create(5000).await;
        let other = client(&config).await;
        other.batch_execute("ANALYZE tracer_executions; SET enable_seqscan = off").await.unwrap();
        let query = "EXPLAIN (ANALYZE, FORMAT TEXT) SELECT id FROM tracer_executions
            WHERE created_at < 1790000010000 AND (created_at, id) > (-1, '') ORDER BY created_at, id LIMIT 500";
        let plan: Vec<String> = other.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("tracer_executions_created") && plan.contains("rows=50 "), "{plan}");
        assert!(!plan.contains("Sort"), "{plan}");
        let step = manager.store().delete_ended(&Duration::from_secs(30).into(), None, 500).await.unwrap();
        assert_eq!((step.deleted, step.next), (0, None));
    });
}

#[test]
fn creations_in_a_transaction_of_ones_own_are_there_if_it_is_committed() {
    run(async {
        let config = server::config("outbox").await;
        let mut pool = deadpool_postgres::Config::new();
        pool.host = config.get_hosts().first().map(|host| match host {
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
        });
        (pool.port, pool.user) = (config.get_ports().first().copied(), config.get_user().map(str::to_owned));
        (pool.dbname, pool.options) = (Some("postgres".into()), config.get_options().map(str::to_owned));
        let pool = pool.create_pool(Some(deadpool_postgres::Runtime::Tokio1), NoTls).unwrap();
        let manager = ExecutionManager::new(PostgresStore::with_pool(pool.clone()).await.unwrap());
        for (number, commit) in [(1, false), (2, true)] {
            let mut client = pool.get().await.unwrap();
            let transaction = client.transaction().await.unwrap();
            let create = manager.prepare(NewExecution::new("invoice").payload(number)).unwrap();
            manager.store().create_in(&transaction, &[create]).await.unwrap();
            if commit { transaction.commit().await.unwrap() } else { transaction.rollback().await.unwrap() }
        }
        // Or of a connection without a pool.
        let mut client = client(&config).await;
        let transaction = client.transaction().await.unwrap();
        let named = |payload| {
            manager.prepare(NewExecution::new("invoice").payload(payload).idempotency_key("invoice")).unwrap()
        };
        let creates = [named(3), named(3), named(4)];
        let created = manager.store().create_in(&transaction, &creates).await.unwrap();
        transaction.commit().await.unwrap();
        let codes: Vec<_> =
            creates.iter().zip(created).map(|(new, it)| new.check(it).map_err(|error| error.code())).collect();
        assert!(matches!(codes[..], [Ok(_), Ok(_), Err("IDEMPOTENCY_MISMATCH")]), "{codes:?}");
        let claimed = manager.claim(claim(9)).await.unwrap();
        assert_eq!(claimed.iter().map(|it| it.payload.as_i64()).collect::<Vec<_>>(), [Some(2), Some(3)]);
    });
}

#[test]
fn what_an_attempt_writes_in_a_transaction_of_ones_own_is_written_with_it() {
    run(async {
        let config = server::config("effects").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        let mut client = client(&config).await;
        client.batch_execute("CREATE TABLE account (cents INT); INSERT INTO account VALUES (500)").await.unwrap();
        let id = manager.create(NewExecution::new("pay")).await.unwrap().id;
        let mut pay = async |write: Write, commit: bool| {
            let transaction = client.transaction().await.unwrap();
            transaction.execute("UPDATE account SET cents = cents - 100", &[]).await.unwrap();
            let written = manager.store().settle_in(&transaction, write).await;
            if commit {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
            let left: i32 = client.query_one("SELECT cents FROM account", &[]).await.unwrap().get(0);
            (written.map_err(|error| error.code()), left)
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
        let config = server::config("halves").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        let mut client = client(&config).await;
        let refuse = "CREATE TABLE account (cents INT);
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
            CREATE TRIGGER refuse BEFORE UPDATE ON tracer_executions FOR EACH ROW EXECUTE FUNCTION refuse()";
        let id = manager.create(NewExecution::new("pay")).await.unwrap().id;
        let lease = manager.claim(claim(1)).await.unwrap().remove(0).token();
        client.batch_execute(refuse).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        let paid = Write::under(lease, Command::checkpoint("paid", 100).unwrap());
        assert_eq!(manager.store().settle_in(&transaction, paid).await.unwrap_err().code(), "STORE");
        transaction.execute("INSERT INTO account VALUES (400)", &[]).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(client.query("SELECT * FROM account", &[]).await.unwrap().len(), 1);
        assert!(manager.get(&id).await.unwrap().checkpoints.is_empty());
        assert!(client.query("SELECT * FROM tracer_checkpoints", &[]).await.unwrap().is_empty());
    });
}

/// The transaction goes on as if nothing had been asked.
#[test]
fn what_cannot_be_created_in_a_transaction_of_ones_own_leaves_it_as_it_was() {
    run(async {
        let config = server::config("half_created").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        let mut client = client(&config).await;
        let refuse = "CREATE TABLE orders (number INT);
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON tracer_queue FOR EACH ROW EXECUTE FUNCTION refuse()";
        client.batch_execute(refuse).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO orders VALUES (1)", &[]).await.unwrap();
        let create = [manager.prepare(NewExecution::new("invoice")).unwrap()];
        assert_eq!(manager.store().create_in(&transaction, &create).await.unwrap_err().code(), "STORE");
        transaction.execute("INSERT INTO orders VALUES (2)", &[]).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(client.query("SELECT * FROM orders", &[]).await.unwrap().len(), 2);
        assert!(client.query("SELECT * FROM tracer_executions", &[]).await.unwrap().is_empty());
    });
}

/// Workers on connections that are cut all the time: nothing is lost, nothing is done twice in the store, all ends.
#[test]
fn what_was_acknowledged_survives_connections_that_are_cut() {
    run(async {
        const JOBS: usize = 300;
        let mut config = server::config("cut").await;
        // So that only these are cut, not those of other tests.
        config.application_name("cut");
        let store = PostgresStore::connect(config.clone(), NoTls).await.unwrap();
        let manager = ExecutionManager::new(store);
        let new = (0..JOBS).map(|number| NewExecution::new("work").payload(number).max_attempts(50));
        manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
        let killer = {
            let client = client(&config).await;
            tokio::spawn(async move {
                let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE pid <> pg_backend_pid() AND application_name = 'cut' AND query LIKE '%tracer_executions%'
                            ORDER BY random() LIMIT 2";
                loop {
                    client.query(kill, &[]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        };
        let work = |_| {
            let config = config.clone();
            tokio::spawn(async move {
                let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await.unwrap());
                let mut acknowledged = Vec::new();
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
                            }
                        }
                    }
                    let _ = manager.tick().await;
                }
                (acknowledged, errors)
            })
        };
        let workers: Vec<_> = (0..4).map(work).collect();
        let mut acknowledged = std::collections::BTreeMap::new();
        let mut errors = 0;
        for worker in workers {
            let (done, failed) = worker.await.unwrap();
            errors += failed;
            for (id, epoch) in done {
                assert_eq!(acknowledged.insert(id, epoch), None, "{id} was completed twice");
            }
        }
        killer.abort();
        assert!(errors > 0, "no connection was cut in the midst of anything");
        let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await.unwrap());
        for (id, epoch) in &acknowledged {
            let execution = manager.get(id).await.unwrap();
            assert_eq!((execution.status, execution.result), (ExecutionStatus::Completed, Some((*epoch).into())));
        }
        let all = manager.list(ListOptions::new().limit(1000)).await.unwrap();
        assert_eq!(all.len(), JOBS);
        assert!(all.iter().all(|execution| execution.attempts <= 50));
    });
}

/// Whatever order a claim or a sweep takes, it comes from an index that holds only what waits or runs: the cost does not
/// grow with what has ended.
#[test]
fn claims_and_sweeps_go_by_their_indexes() {
    run(async {
        let config = server::config("plans").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        for _ in 0..20 {
            manager
                .create_all((0..100).map(|number| NewExecution::new("work").payload(number)).collect::<Vec<_>>())
                .await
                .unwrap();
        }
        manager.claim(claim(50)).await.unwrap();
        let client = client(&config).await;
        client.batch_execute("ANALYZE tracer_queue").await.unwrap();
        for (query, index) in [
            (
                "SELECT * FROM tracer_queue q WHERE q.type = 'work' AND q.priority = 0 AND q.due_at <= 1
                 ORDER BY q.due_at, q.created_at, q.id LIMIT 9 FOR UPDATE SKIP LOCKED",
                "tracer_queue_due",
            ),
            ("SELECT min(type) FROM tracer_queue WHERE due_at IS NOT NULL", "tracer_queue_due"),
            (
                "SELECT max(priority) FROM tracer_queue q WHERE q.type = 'work' AND due_at IS NOT NULL",
                "tracer_queue_due",
            ),
            (
                "SELECT id FROM tracer_queue WHERE sweep_at <= 1 ORDER BY sweep_at, id LIMIT 9 FOR UPDATE SKIP LOCKED",
                "tracer_queue_sweep",
            ),
            ("SELECT min(sweep_at) FROM tracer_queue WHERE sweep_at IS NOT NULL", "tracer_queue_sweep"),
        ] {
            let rows = client.query(&format!("EXPLAIN (COSTS OFF) {query}"), &[]).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            let sorts = plan.lines().any(|line| line.trim_start_matches([' ', '-', '>']).starts_with("Sort"));
            assert!(plan.contains(index) && !plan.contains("Seq Scan") && !sorts, "{query}:\n{plan}");
        }
    });
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_may_be_repeated() {
    run(async {
        let config = "host=/nonexistent user=nobody connect_timeout=1".parse().unwrap();
        let error = PostgresStore::connect(config, NoTls).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
    });
}

/// Far longer than the test may take: nobody is to ask by himself.
const NEVER: Duration = Duration::from_secs(3600);
/// What a hint takes, with much to spare on a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn who_may_not_come_in_is_told_so_and_not_to_try_again() {
    run(async {
        let config = server::config("refused").await;
        let (mut nobody, mut nowhere) = (config.clone(), config);
        nobody.user("nobody");
        nowhere.dbname("nowhere");
        for (config, why) in
            [(nobody, "role \"nobody\" does not exist"), (nowhere, "database \"nowhere\" does not exist")]
        {
            let error = PostgresStore::connect(config, NoTls).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", false, Written::Nothing));
            let cause = error.source.source().expect("what the server has said").to_string();
            assert!(cause.contains(why), "{cause}");
        }
    });
}

/// What has ended meanwhile is written once it is let in again; a worker would take a refusal for an answer.
#[test]
fn who_was_let_in_before_is_to_try_again() {
    run(async {
        let mut config = server::config("let_in").await;
        let client = client(&config).await;
        client.batch_execute("CREATE ROLE visitor LOGIN SUPERUSER").await.unwrap();
        config.user("visitor");
        let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await.unwrap());
        let shut = "ALTER ROLE visitor NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE usename = 'visitor'";
        client.batch_execute(shut).await.unwrap();
        for _ in 0..3 {
            let error = manager.create(NewExecution::new("work").idempotency_key("one")).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("STORE", true), "{error}");
        }
        client.batch_execute("ALTER ROLE visitor LOGIN").await.unwrap();
        manager.create(NewExecution::new("work").idempotency_key("one")).await.unwrap();
    });
}

async fn store(config: &tokio_postgres::Config) -> ExecutionManager<PostgresStore> {
    ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap())
}

/// A worker that asks once and then never by itself, and what says which payload it has begun with.
async fn waiting(config: &tokio_postgres::Config) -> (Running, mpsc::UnboundedReceiver<u32>) {
    let (sender, started) = mpsc::unbounded_channel();
    let handle = move |_: Attempt, number: u32| {
        sender.send(number).unwrap();
        std::future::ready(Ok::<_, Failure>(()))
    };
    (Worker::new(store(config).await).poll(NEVER).handler("work", handle).start(), started)
}

async fn started(receiver: &mut mpsc::UnboundedReceiver<u32>) -> u32 {
    tokio::time::timeout(SOON, receiver.recv()).await.expect("it is woken").expect("the worker runs")
}

/// The connections that listen. They do so when this gives some; it waits for one that is not among `before`.
async fn listening(config: &tokio_postgres::Config, before: &[i32]) -> Vec<i32> {
    let client = client(config).await;
    let schema = config.get_options().unwrap();
    loop {
        // What it has done last is to ask which schema it is in.
        let query = "SELECT pid FROM pg_stat_activity
                     WHERE application_name = $1 AND query LIKE 'SELECT current_schema()%'";
        let found: Vec<i32> = client.query(query, &[&schema]).await.unwrap().iter().map(|row| row.get(0)).collect();
        if found.iter().any(|pid| !before.contains(pid)) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_worker_elsewhere_is_woken() {
    run(async {
        let config = server::config("woken").await;
        let (worker, mut starts) = waiting(&config).await;
        let creates = store(&config).await;
        // The second of each pair comes when it was said just now, and is found all the same.
        for pair in 0..3 {
            for number in [2 * pair, 2 * pair + 1] {
                creates.create(NewExecution::new("work").payload(number)).await.unwrap();
                assert_eq!(started(&mut starts).await, number);
            }
        }
        // One that becomes due by a change.
        let failed = creates.create(NewExecution::new("work").payload(7).max_attempts(2).delay(NEVER)).await.unwrap();
        creates.start(&failed.id).await.unwrap();
        creates.fail(&failed.id, Failure::new("no")).await.unwrap();
        creates.retry(&failed.id).await.unwrap();
        assert_eq!(started(&mut starts).await, 7);
        worker.shutdown(SOON).await;
    });
}

#[test]
fn a_listener_whose_connection_is_lost_listens_again() {
    run(async {
        let mut config = server::config("lost").await;
        let schema = config.get_options().unwrap().to_owned();
        config.application_name(&schema);
        let (worker, mut starts) = waiting(&config).await;
        let creates = store(&config).await;
        let mut before = Vec::new();
        for number in 0..3 {
            let listeners = tokio::time::timeout(SOON, listening(&config, &before)).await.expect("it listens again");
            creates.create(NewExecution::new("work").payload(number)).await.unwrap();
            assert_eq!(started(&mut starts).await, number);
            for pid in &listeners {
                client(&config).await.execute("SELECT pg_terminate_backend($1)", &[pid]).await.unwrap();
            }
            before = listeners;
        }
        worker.shutdown(SOON).await;
    });
}

#[test]
fn a_hint_is_given_seldom_and_only_when_something_is_due() {
    run(async {
        let config = server::config("seldom").await;
        let (client, mut connection) = config.connect(NoTls).await.unwrap();
        let (sender, mut heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let tokio_postgres::AsyncMessage::Notification(notification) = message {
                    sender.send(notification.payload().to_owned()).unwrap();
                }
            }
        });
        client.batch_execute("LISTEN tracer_executions").await.unwrap();
        let creates = store(&config).await;
        // What was said is there when a later question is answered.
        let mut count = async || {
            client.query_one("SELECT 1", &[]).await.unwrap();
            let mut count = 0;
            while let Ok(schema) = heard.try_recv() {
                // Other tests have schemas in the same database.
                count += u128::from(schema == "seldom");
            }
            count
        };
        creates.create(NewExecution::new("work").delay(NEVER)).await.unwrap();
        assert_eq!(count().await, 0);
        let begun = tokio::time::Instant::now();
        for _ in 0..100 {
            creates.create(NewExecution::new("work")).await.unwrap();
        }
        let at_most = begun.elapsed().as_millis() / 50 + 1;
        let count = count().await;
        assert!((1..=at_most).contains(&count), "{count} times, and {at_most} are allowed");
        assert!(at_most < 100, "it was too slow to tell");
    });
}
