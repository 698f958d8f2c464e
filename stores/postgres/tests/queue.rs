//! The queue beside the records: what a claim leaves in it, and who may end an attempt without reading it again.

mod run;
mod server;

use std::time::Duration;

use tokio_postgres::{GenericClient, NoTls};
use tracer::execution::{
    Beat, Claim, Command, Execution, ExecutionManager, ExecutionStatus, ExecutionStore, Failure, Lease, ListOptions,
    NewExecution, Progress, Refusal, RetryPolicy, Write, Written,
};
use tracer_postgres::PostgresStore;

use run::run;

type Manager = ExecutionManager<PostgresStore>;

fn claim(limit: u32, lease: Duration) -> Claim {
    Claim { types: Vec::new(), only: None, limit, worker: "worker".to_owned(), lease }
}

const LONG: Duration = Duration::from_secs(60);

/// Waits until such a connection waits for this one, of which the server tells nobody.
async fn until_waited_for(connection: &impl GenericClient, such: &str) {
    let waits =
        format!("SELECT count(*) FROM pg_stat_activity WHERE {such} AND pg_backend_pid() = ANY(pg_blocking_pids(pid))");
    while connection.query_one(&waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // In a transaction, what was seen once is seen again.
        connection.execute("SELECT pg_stat_clear_snapshot()", &[]).await.unwrap();
    }
}

async fn client(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn manager(config: &tokio_postgres::Config) -> Manager {
    ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap())
}

async fn claimed(manager: &Manager, count: usize, lease: Duration) -> Vec<Execution> {
    let new = (0..count).map(|number| NewExecution::new("work").payload(number).max_attempts(3));
    manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
    let claimed = manager.claim(claim(u32::try_from(count).unwrap(), lease)).await.unwrap();
    assert_eq!(claimed.len(), count);
    claimed
}

fn complete(lease: Lease, result: u32) -> Write {
    Write::under(lease, Command::Complete { result: result.into() })
}

/// How many rows the queue has for them, and how many records there are, whose bodies say that they wait.
async fn counts(config: &tokio_postgres::Config) -> (i64, i64) {
    let query = "SELECT (SELECT count(*) FROM tracer_queue),
                        (SELECT count(*) FROM tracer_executions WHERE body LIKE '%\"status\":\"pending\"%')";
    let row = client(config).await.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// What makes claims cheap: the record is as it was.
#[test]
fn a_claim_writes_to_the_queue_only_and_an_end_leaves_nothing_there() {
    run(async {
        let config = server::config("narrow").await;
        let manager = manager(&config).await;
        let claimed = claimed(&manager, 10, LONG).await;
        assert_eq!(counts(&config).await, (10, 10));
        for execution in &claimed {
            assert_eq!(&manager.get(&execution.id).await.unwrap(), execution);
        }
        let running = manager.list(ListOptions::new().status(ExecutionStatus::Running)).await.unwrap();
        assert_eq!(&running[..], &claimed[..]);
        let pending = manager.list(ListOptions::new().status(ExecutionStatus::Pending)).await.unwrap();
        assert!(pending.is_empty());
        let writes = claimed.iter().map(|execution| complete(execution.token(), 1)).collect();
        assert_eq!(manager.settle(writes).await.unwrap(), vec![Ok(()); 10]);
        assert_eq!(counts(&config).await, (0, 0));
    });
}

/// The end of an attempt is written by who knows what it was when it was claimed, and nothing since. Whatever was written in
/// between stays.
#[test]
fn an_end_keeps_what_was_written_since_the_claim() {
    run(async {
        let config = server::config("between").await;
        let (works, other) = (manager(&config).await, manager(&config).await);
        let claimed = claimed(&works, 4, LONG).await;
        let token = |number: usize| claimed[number].token();
        let id = |number: usize| claimed[number].id;
        works.under(&token(0)).update_progress(&id(0), Progress::new(1, 2)).await.unwrap();
        works.under(&token(1)).checkpoint(&id(1), "key", "value").await.unwrap();
        other.cancel(&id(2), Some("enough")).await.unwrap();
        // That is no change.
        let beats = other.heartbeat(&[token(2), token(3)], 2 * LONG).await.unwrap();
        assert_eq!(beats, [Beat::CancelRequested, Beat::Held]);
        let writes = claimed.iter().map(|execution| complete(execution.token(), 7)).collect();
        assert_eq!(works.settle(writes).await.unwrap(), vec![Ok(()); 4]);
        let mut ended = Vec::new();
        for execution in &claimed {
            let execution = other.get(&execution.id).await.unwrap();
            assert_eq!((execution.status, &execution.result), (ExecutionStatus::Completed, &Some(7.into())));
            ended.push(execution);
        }
        assert_eq!(ended.iter().map(|execution| execution.version).collect::<Vec<_>>(), [4, 4, 4, 3]);
        assert_eq!(ended[0].progress.as_ref().map(|progress| progress.current), Some(1));
        assert_eq!(ended[1].checkpoints["key"], "value");
        assert_eq!(ended[2].metadata["cancellationReason"], "enough");
    });
}

#[test]
fn who_has_lost_a_lease_writes_nothing() {
    run(async {
        let config = server::config("stale").await;
        let (works, other) = (manager(&config).await, manager(&config).await);
        let stale = claimed(&works, 3, Duration::from_millis(1)).await;
        // Their leases end when the server's clock says so, which may be after the first sweep.
        let mut swept = 0;
        while swept < 3 {
            swept += other.tick().await.unwrap().total();
        }
        let taken = other.claim(claim(2, LONG)).await.unwrap();
        assert_eq!(taken.iter().map(|execution| execution.epoch).collect::<Vec<_>>(), [2, 2]);
        other.under(&taken[0].token()).complete(&taken[0].id, "mine").await.unwrap();
        let mut before = Vec::new();
        for execution in &stale {
            before.push(other.get(&execution.id).await.unwrap());
        }
        let statuses = [ExecutionStatus::Completed, ExecutionStatus::Running, ExecutionStatus::Retrying];
        assert_eq!(before.iter().map(|execution| execution.status).collect::<Vec<_>>(), statuses);
        let writes = stale.iter().map(|execution| complete(execution.token(), 0)).collect();
        for outcome in works.settle(writes).await.unwrap() {
            assert!(matches!(outcome, Err(Refusal::LeaseLost { expected: 1, .. })), "{outcome:?}");
        }
        let tokens: Vec<Lease> = stale.iter().map(Execution::token).collect();
        assert_eq!(works.heartbeat(&tokens, 9 * LONG).await.unwrap(), [Beat::Lost; 3]);
        for execution in &before {
            assert_eq!(&other.get(&execution.id).await.unwrap(), execution);
        }
    });
}

#[test]
fn a_batch_of_ends_is_taken_in_order_and_answered_so() {
    run(async {
        let config = server::config("in_order").await;
        let (works, other) = (manager(&config).await, manager(&config).await);
        let mine = claimed(&works, 3, LONG).await;
        let others = claimed(&other, 1, LONG).await;
        let fail =
            |lease| Write::under(lease, Command::Fail { failure: Failure::new("no").retryable(true), random: 0 });
        let writes = vec![
            complete(mine[0].token(), 1),
            fail(mine[1].token()),
            complete(mine[0].token(), 2),
            complete(others[0].token(), 3),
            complete(Lease { epoch: 9, ..mine[2].token() }, 4),
            complete(mine[0].token(), 1),
        ];
        let outcomes = works.settle(writes).await.unwrap();
        assert_eq!([&outcomes[0], &outcomes[1], &outcomes[3], &outcomes[5]], [&Ok(()); 4]);
        for refused in [2, 4] {
            assert!(matches!(outcomes[refused], Err(Refusal::LeaseLost { .. })), "{outcomes:?}");
        }
        let mut found = Vec::new();
        for execution in mine.iter().chain(&others) {
            let execution = other.get(&execution.id).await.unwrap();
            found.push((execution.status, execution.result.and_then(|result| result.as_u64())));
        }
        assert_eq!(
            found,
            [
                (ExecutionStatus::Completed, Some(1)),
                (ExecutionStatus::Retrying, None),
                (ExecutionStatus::Running, None),
                (ExecutionStatus::Completed, Some(3)),
            ]
        );
    });
}

/// Some ends are written by a statement of their own: if the rest fails, nobody may say that nothing was.
#[test]
fn a_batch_that_fails_in_its_second_half_says_that_some_may_be_written() {
    run(async {
        let config = server::config("half").await;
        let (works, other) = (manager(&config).await, manager(&config).await);
        let mine = claimed(&works, 1, LONG).await.remove(0);
        let bad = claimed(&other, 1, LONG).await.remove(0);
        let spoil = format!("UPDATE tracer_executions SET body = '{{' WHERE encode(id, 'hex') = '{:x}'", bad.id);
        assert_eq!(client(&config).await.execute(&spoil, &[]).await.unwrap(), 1);
        let error = works.settle(vec![complete(mine.token(), 1), complete(bad.token(), 1)]).await.unwrap_err();
        assert_eq!((error.code(), error.written()), ("CORRUPT", Written::Unknown));
        assert_eq!(other.get(&mine.id).await.unwrap().status, ExecutionStatus::Completed);
        let error = works.settle(vec![complete(bad.token(), 1)]).await.unwrap_err();
        assert_eq!((error.code(), error.written()), ("CORRUPT", Written::Nothing));
        // A sweep does not come back to it again and again.
        other.heartbeat(&[bad.token()], Duration::from_millis(1)).await.unwrap();
        let aside = async {
            while let Some(next) = other.tick().await.unwrap().next_due {
                tokio::time::sleep(next).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), aside).await.expect("it is set aside");
    });
}

/// Whoever finds nothing in the queue waits for the record. If that was driven anew and claimed meanwhile, he begins again.
#[test]
fn what_was_driven_anew_and_claimed_meanwhile_is_not_taken_for_waiting() {
    run(async {
        let config = server::config("meanwhile").await;
        let manager = manager(&config).await;
        let first = claimed(&manager, 1, LONG).await.remove(0);
        let mut client = client(&config).await;
        manager.under(&first.token()).fail(&first.id, Failure::new("no")).await.unwrap();
        client.batch_execute("CREATE TABLE ended AS SELECT * FROM tracer_executions").await.unwrap();
        manager.redrive(&first.id).await.unwrap();
        client.batch_execute("CREATE TABLE anew AS SELECT * FROM tracer_executions").await.unwrap();
        let second = manager.claim(claim(1, LONG)).await.unwrap().remove(0);
        // It has ended again, until this transaction, which does what was just done, is committed.
        let set = |from: &str| {
            format!(
                "UPDATE tracer_executions e SET body_status = f.body_status, body = f.body FROM {from} f WHERE e.id = f.id"
            )
        };
        client.batch_execute("CREATE TABLE claimed AS SELECT * FROM tracer_queue").await.unwrap();
        client.batch_execute(&format!("{}; DELETE FROM tracer_queue", set("ended"))).await.unwrap();
        assert_eq!(manager.get(&first.id).await.unwrap().status, ExecutionStatus::Failed);
        let transaction = client.transaction().await.unwrap();
        let again = format!("{}; INSERT INTO tracer_queue SELECT * FROM claimed", set("anew"));
        transaction.batch_execute(&again).await.unwrap();
        let cancelling = {
            let (manager, id) = (manager.clone(), first.id);
            tokio::spawn(async move { manager.cancel(&id, None).await })
        };
        until_waited_for(&transaction, "wait_event_type = 'Lock' AND query LIKE '%tracer_executions%FOR UPDATE OF e'")
            .await;
        transaction.commit().await.unwrap();
        // A worker has it: he is asked to stop.
        let cancelled = cancelling.await.unwrap().unwrap();
        assert_eq!((cancelled.status, cancelled.cancel_requested), (ExecutionStatus::Running, true));
        assert_eq!(manager.heartbeat(&[second.token()], LONG).await.unwrap(), [Beat::CancelRequested]);
    });
}

/// Claims, ends, cancellations, calls for another attempt and reads of the same few, all at once: each answer is one that the rules
/// allow, and the queue has a row for what has not ended, and for nothing else.
#[test]
fn records_and_queue_agree_whatever_happens_at_once() {
    run(async {
        const EACH: usize = 150;
        let config = server::config("agree").await;
        let first = manager(&config).await;
        let new = (0..6).map(|number| NewExecution::new("work").payload(number).max_attempts(1_000_000));
        let ids: Vec<_> =
            first.create_all(new.collect::<Vec<_>>()).await.unwrap().into_iter().map(|it| it.unwrap().id).collect();
        let work = |number: usize| {
            let (config, ids) = (config.clone(), ids.clone());
            tokio::spawn(async move {
                let manager = manager(&config).await;
                for round in 0..EACH {
                    let id = ids[(number + round) % ids.len()];
                    let answer = match (number + round * 7) % 5 {
                        0 | 1 => match manager.claim(claim(2, LONG)).await {
                            Ok(claimed) => {
                                let writes = claimed.iter().map(|execution| complete(execution.token(), 1)).collect();
                                manager.settle(writes).await.map(drop)
                            }
                            Err(error) => Err(error),
                        },
                        2 => manager.redrive(&id).await.map(drop),
                        3 => manager.cancel(&id, None).await.map(drop),
                        _ => manager
                            .store()
                            .update(vec![Write::new(id, Command::Redrive)])
                            .await
                            .map_or_else(|error| panic!("{error}"), |_| Ok(())),
                    };
                    if let Err(error) = answer {
                        let code = error.code();
                        assert!(matches!(code, "INVALID_STATE_TRANSITION" | "LEASE_LOST"), "{code}: {error}");
                    }
                }
            })
        };
        let workers: Vec<_> = (0..6).map(work).collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let all = first.list(ListOptions::new()).await.unwrap();
        assert_eq!(all.len(), ids.len());
        let query = "SELECT count(*) FROM tracer_queue";
        let queued: i64 = client(&config).await.query_one(query, &[]).await.unwrap().get(0);
        let active = all.iter().filter(|execution| !execution.status.is_terminal()).count();
        assert_eq!(usize::try_from(queued), Ok(active));
        for execution in &all {
            assert_eq!(usize::try_from(execution.epoch).unwrap().min(32), execution.history.len());
        }
    });
}

/// Whoever finds a row that somebody else has locked takes the next one.
#[test]
fn claimers_and_sweepers_do_not_wait_for_each_other() {
    run(async {
        let config = server::config("beside").await;
        let store = PostgresStore::connect(config.clone(), NoTls).await.unwrap().with_patience(Duration::from_secs(5));
        let manager = ExecutionManager::new(store);
        let running = claimed(&manager, 2, Duration::from_millis(1)).await;
        let new = (0..4).map(|number| NewExecution::new("work").payload(number));
        let waiting = manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
        let waiting: Vec<_> = waiting.into_iter().map(|created| created.unwrap().id).collect();
        let mut other = client(&config).await;
        let transaction = other.transaction().await.unwrap();
        for id in [running[0].id, waiting[0], waiting[1]] {
            let lock = format!("SELECT FROM tracer_queue WHERE encode(id, 'hex') = '{id:x}' FOR UPDATE");
            assert_eq!(transaction.execute(&lock, &[]).await.unwrap(), 1);
        }
        assert_eq!(manager.claim_by_id(&waiting[0], "worker", LONG).await.unwrap(), None);
        let ids = |claimed: Vec<Execution>| claimed.iter().map(|execution| execution.id).collect::<Vec<_>>();
        assert_eq!(ids(manager.claim(claim(1, LONG)).await.unwrap()), [waiting[2]]);
        assert_eq!(ids(manager.claim(claim(9, LONG)).await.unwrap()), [waiting[3]]);
        assert_eq!(manager.tick().await.unwrap().total(), 1);
        transaction.commit().await.unwrap();
        assert_eq!(manager.tick().await.unwrap().total(), 1);
        assert_eq!(ids(manager.claim(claim(2, LONG)).await.unwrap()), waiting[..2]);
    });
}

/// A statement sees records as they were when it began, and a row that it locks as it is by then: what was claimed, failed and
/// due again in between is not to be taken with the body of before.
#[test]
fn what_was_written_to_while_a_claim_began_is_left_to_the_next() {
    run(async {
        let mut config = server::config("began").await;
        // The time of these connections is told when this lock is free: the statement has begun by then.
        client(&config)
            .await
            .batch_execute(
                "CREATE FUNCTION began.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$ BEGIN
                     PERFORM pg_advisory_lock_shared(77), pg_advisory_unlock_shared(77);
                     RETURN pg_catalog.clock_timestamp();
                 END $$",
            )
            .await
            .unwrap();
        let other = ExecutionManager::new(
            PostgresStore::connect(config.clone(), NoTls).await.unwrap().with_clock(tracer::SystemClock),
        );
        let client = client(&config).await;
        config.options("-c search_path=began,pg_catalog");
        let slow = manager(&config).await;
        let retry = RetryPolicy::new(Duration::ZERO, Duration::ZERO);
        let id = other.create(NewExecution::new("work").max_attempts(9).retry(retry)).await.unwrap().id;
        client.execute("SELECT pg_advisory_lock(77)", &[]).await.unwrap();
        let claiming = {
            let (slow, claim) = (slow.clone(), Claim { types: vec!["work".to_owned()], ..claim(1, LONG) });
            tokio::spawn(async move { slow.claim(claim).await })
        };
        until_waited_for(&client, "wait_event = 'advisory' AND query LIKE '%RECURSIVE clock%'").await;
        let first = other.claim(claim(1, LONG)).await.unwrap().remove(0);
        let again = other.under(&first.token()).fail(&id, Failure::new("no").retryable(true)).await.unwrap();
        assert!(again.is_due(again.updated_at));
        client.execute("SELECT pg_advisory_unlock(77)", &[]).await.unwrap();
        assert_eq!(claiming.await.unwrap().unwrap(), []);
        assert_eq!(other.get(&id).await.unwrap(), again);
        let second = slow.claim(claim(1, LONG)).await.unwrap().remove(0);
        assert_eq!((second.id, second.epoch, second.attempts), (id, 2, 2));
    });
}
