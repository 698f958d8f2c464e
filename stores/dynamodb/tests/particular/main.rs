//! What is particular to DynamoDB: its table, its limits, requests that fail, requests that are sent twice.

mod checkpoints;
mod failures;
mod opening;
#[path = "../server/mod.rs"]
mod server;

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_sdk_dynamodb::types::AttributeValue;
use tracer::execution::{
    Claim, Cursor, ExecutionError, ExecutionId, ExecutionManager, ExecutionStatus, ExecutionStore, ListOptions,
    NewExecution, Retention, Survives, Timestamp, Written,
};
use tracer::{ManualClock, SystemClock};
use tracer_dynamodb::DynamoStore;
use tracer_store_conformance::server::{Place, free_port};
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

/// A client that does not try again, and does not wait long.
fn impatient(port: u16) -> Client {
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_millis(300)).build();
    Client::from_conf(server::config(port).retry_config(RetryConfig::disabled()).timeout_config(timeouts).build())
}

async fn manager(table: &str) -> ExecutionManager<DynamoStore> {
    let client = server::client(server::port().await);
    ExecutionManager::new(DynamoStore::open(client, table).await.unwrap())
}

/// What an error says to who has to decide what to do next.
fn told(error: &ExecutionError) -> (&'static str, bool, Written) {
    (error.code(), error.is_retryable(), error.written())
}

/// As a service does whose clock is ahead by so many seconds.
#[derive(Debug)]
struct Ahead(i64);

impl Intercept for Ahead {
    fn name(&self) -> &'static str {
        "ahead"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        let date = DateTime::from_str(headers.get("date").unwrap(), DateTimeFormat::HttpDate)?;
        let later = DateTime::from_secs(date.secs() + self.0).fmt(DateTimeFormat::HttpDate)?;
        headers.insert("date", later);
        Ok(())
    }
}

#[test]
fn time_is_that_of_the_service_whatever_clocks_show_here() {
    run(async {
        let created_at = async |config: Builder, table: &str| {
            let store = DynamoStore::open(Client::from_conf(config.build()), table).await.unwrap();
            ExecutionManager::new(store).create(NewExecution::new("work")).await.unwrap().created_at.unix_ms()
        };
        let port = server::port().await;
        let here = Timestamp::now(&SystemClock).unix_ms();
        let there = created_at(server::config(port).interceptor(Ahead(3600)), "ahead").await;
        let without = created_at(server::config(port), "not_ahead").await;
        let took = Timestamp::now(&SystemClock).unix_ms() - here;
        let may_be = |from: u64| from - 1000..from + took + 1000;
        assert!(may_be(here + 3_600_000).contains(&there), "{there} and {here}");
        assert!(may_be(here).contains(&without), "{without} and {here}");
    });
}

/// Who was told of it comes with a time that lags behind.
#[test]
fn what_was_created_a_moment_ago_is_due_whatever_the_time_is_taken_for() {
    run(async {
        let port = server::port().await;
        let open = async |config: Builder| {
            let store = DynamoStore::open(Client::from_conf(config.build()), "late").await.unwrap();
            ExecutionManager::new(store)
        };
        let early = open(server::config(port).interceptor(Ahead(2))).await;
        let late = open(server::config(port)).await;
        let id = early.create(NewExecution::new("work")).await.unwrap().id;
        assert_eq!(late.claim_by_id(&id, "late", Duration::from_secs(30)).await.unwrap().unwrap().attempts, 1);
    });
}

#[test]
fn many_may_begin_at_once_and_newer_tables_are_left_alone() {
    run(async {
        let client = server::client(server::port().await);
        let open = |_| {
            let client = client.clone();
            tokio::spawn(async move { DynamoStore::open(client, "versions").await.map(drop) })
        };
        let opening: Vec<_> = (0..8).map(open).collect();
        for opened in opening {
            opened.await.unwrap().unwrap();
        }
        let put = client.put_item().table_name("versions").item("pk", AttributeValue::S("version".into()));
        put.item("version", AttributeValue::N("99".into())).send().await.unwrap();
        let error = DynamoStore::open(client, "versions").await.unwrap_err();
        assert_eq!((error.code(), error.written), ("SCHEMA", Written::Nothing));
        assert_eq!(error.source.to_string(), "expected version 2, found 99: update this program");
    });
}

#[test]
fn items_that_are_no_executions_keep_nobody_from_the_others() {
    run(async {
        let client = server::client(server::port().await);
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = DynamoStore::open(client.clone(), "corrupt").await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let mut ids = Vec::new();
        for number in 0..5 {
            let new =
                NewExecution::new("work").payload(number).priority(9 - number).idempotency_key(number.to_string());
            ids.push(manager.create(new).await.unwrap().id);
        }
        let spoil = async |id: &ExecutionId, name: &str, value: AttributeValue| {
            let pk = AttributeValue::S(format!("execution#{id:x}"));
            let update = client.update_item().table_name("corrupt").key("pk", pk).update_expression("SET #n = :v");
            let update = update.expression_attribute_names("#n", name).expression_attribute_values(":v", value);
            update.send().await.unwrap();
        };
        spoil(&ids[0], "body", AttributeValue::S("{".into())).await;
        spoil(&ids[1], "body", AttributeValue::N("7".into())).await;
        spoil(&ids[2], "payload", AttributeValue::S("[".into())).await;
        spoil(&ids[3], "revision", AttributeValue::S("one".into())).await;
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
        // What runs, too, while others run.
        spoil(&ids[4], "body", AttributeValue::S("{".into())).await;
        let good = manager.create(NewExecution::new("work")).await.unwrap().id;
        manager.claim(claim(1)).await.unwrap();
        clock.advance(Duration::from_secs(31));
        assert_eq!(manager.tick().await.unwrap().failed, 1);
        for id in &ids[..4] {
            manager.delete(id).await.unwrap();
        }
        assert_eq!(manager.get(&good).await.unwrap().status, ExecutionStatus::Failed);
        // Its key is free again.
        manager.create(NewExecution::new("other").idempotency_key("0")).await.unwrap();
    });
}

#[test]
fn items_that_are_no_executions_are_told_and_left_alone_when_what_has_ended_goes() {
    run(async {
        let client = server::client(server::port().await);
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = DynamoStore::open(client.clone(), "old").await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let mut ids = Vec::new();
        for number in 0..5 {
            let new = NewExecution::new("work").idempotency_key(number.to_string());
            ids.push(manager.create(new).await.unwrap().id);
            manager.cancel(&ids[number], None).await.unwrap();
        }
        for (number, name, value) in [(0, "body", "{"), (2, "revision", "one")] {
            let pk = AttributeValue::S(format!("execution#{:x}", ids[number]));
            let update = client.update_item().table_name("old").key("pk", pk).update_expression("SET #n = :v");
            let update = update.expression_attribute_names("#n", name);
            update.expression_attribute_values(":v", AttributeValue::S(value.into())).send().await.unwrap();
        }
        clock.advance(Duration::from_secs(2));
        let pruned = manager.prune(Duration::from_secs(1)).await.unwrap();
        assert_eq!((pruned.deleted, pruned.unreadable), (3, 2));
        assert_eq!(manager.get(&ids[0]).await.unwrap_err().code(), "CORRUPT");
        // Keys are free again of what is gone, and of nothing else.
        for number in 0..5 {
            let key = manager.find_by_idempotency_key(&number.to_string()).await;
            assert_eq!(key.is_err(), [0, 2].contains(&number), "{number}");
        }
    });
}

#[test]
fn what_is_too_young_to_go_is_not_looked_at() {
    run(async {
        let (clock, requests) = (ManualClock::new(Duration::from_secs(1_790_000_000)), Counted::default());
        let config = server::config(server::port().await).interceptor(requests.clone());
        let store = DynamoStore::open(Client::from_conf(config.build()), "young").await.unwrap();
        let manager = ExecutionManager::new(store.with_clock(clock.clone()));
        let mut last = None;
        for _ in 0..3 {
            clock.advance(Duration::from_secs(10));
            last = Some(Cursor::of(&manager.create(NewExecution::new("work")).await.unwrap()));
        }
        let retention = Retention::new(Duration::from_secs(15));
        let look = |after| manager.store().delete_ended(&retention, after, 1);
        let first = look(None).await.unwrap();
        assert_eq!(look(first.next).await.unwrap().next, None, "there is but one that is old enough");
        requests.0.store(0, Ordering::Relaxed);
        assert_eq!(look(last).await.unwrap().next, None);
        assert_eq!(requests.0.load(Ordering::Relaxed), 0, "nothing can be behind it");
    });
}

/// As others have written them: there is no room for what an attempt, or its end, adds.
#[test]
fn items_that_cannot_be_written_keep_nobody_from_the_others() {
    run(async {
        let client = server::client(server::port().await);
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = DynamoStore::open(client.clone(), "full").await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let fill = async |id: &ExecutionId| {
            for len in (400_000..=409_600).rev().step_by(8) {
                let pk = AttributeValue::S(format!("execution#{id:x}"));
                let update = client.update_item().table_name("full").key("pk", pk);
                let update = update.update_expression("SET payload = :v");
                let value = AttributeValue::S(format!("{:?}", "x".repeat(len - 2)));
                if update.expression_attribute_values(":v", value).send().await.is_ok() {
                    return;
                }
            }
            panic!("the service takes no item of 400,000 bytes");
        };
        let new = || NewExecution::new("work").max_attempts(9);
        let bad = manager.create(new()).await.unwrap().id;
        manager.claim(claim(1)).await.unwrap();
        fill(&bad).await;
        clock.advance(Duration::from_secs(1));
        for _ in 0..20 {
            manager.create(new()).await.unwrap();
        }
        assert_eq!(manager.claim(claim(20)).await.unwrap().len(), 20);
        clock.advance(Duration::from_secs(31));
        // The first to be looked at is the one that cannot be.
        assert_eq!(manager.tick().await.unwrap().retried, 20);
        assert_eq!(told(&manager.tick().await.unwrap_err()), ("TOO_LARGE", false, Written::Nothing));
        let worst = manager.create(new().priority(9)).await.unwrap().id;
        fill(&worst).await;
        // One at a time, and all at once.
        assert_eq!(manager.claim(claim(1)).await.unwrap().len(), 1);
        assert_eq!(manager.claim(claim(50)).await.unwrap().len(), 19);
        assert_eq!(told(&manager.claim(claim(1)).await.unwrap_err()), ("TOO_LARGE", false, Written::Nothing));
    });
}

#[test]
fn executions_that_are_too_large_are_refused_and_the_limit_is_named() {
    run(async {
        let manager = manager("large").await;
        let limit = usize::try_from(manager.store().capabilities().value_len_bytes_max.unwrap()).unwrap();
        let fits = "x".repeat(limit - 2);
        let id = manager.create(NewExecution::new("work").payload(&fits)).await.unwrap().id;
        let error = manager.create(NewExecution::new("work").payload("x".repeat(410_000))).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("expected an execution of at most 376832 bytes, found 41"), "{source}");
        manager.start(&id).await.unwrap();
        // All together count, what does not change included.
        let error = manager.complete(&id, "x".repeat(5000)).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        assert_eq!(manager.get(&id).await.unwrap().status, ExecutionStatus::Running);
        manager.complete(&id, "done").await.unwrap();
        assert_eq!(manager.store().capabilities().survives, Survives::PowerLoss);
    });
}

/// Counts requests.
#[derive(Debug, Default, Clone)]
struct Counted(Arc<AtomicU32>);

impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Each type is a part of the index of its own: what is due of all of them is brought together, and what waits is passed over.
#[test]
fn a_claim_takes_the_next_of_all_types_and_asks_once_for_each() {
    run(async {
        let (clock, requests) = (ManualClock::new(Duration::from_secs(1_790_000_000)), Counted::default());
        let config = server::config(server::port().await).interceptor(requests.clone());
        let store = DynamoStore::open(Client::from_conf(config.build()), "types").await.unwrap();
        let manager = ExecutionManager::new(store.with_clock(clock.clone()));
        let types = ["a", "b", "c"];
        for number in 0..45_u32 {
            let new = NewExecution::new(types[(number % 7 % 3) as usize]).priority(i16::try_from(number % 4).unwrap());
            let delay = if number % 5 == 0 { 60 } else { u64::from(number % 3) };
            manager.create(new.payload(number).delay(Duration::from_secs(delay))).await.unwrap();
            clock.advance(Duration::from_millis(3));
        }
        clock.advance(Duration::from_secs(3));
        let all = manager.list(ListOptions::new()).await.unwrap();
        let mut expected: Vec<_> = all
            .iter()
            .filter(|execution| execution.run_at <= all[44].created_at.after(Duration::from_secs(3)))
            .collect();
        expected.sort_by_key(|execution| (Reverse(execution.priority), execution.run_at, Cursor::of(execution)));
        assert_eq!(expected.len(), 36);
        let expected: Vec<_> = expected.into_iter().map(|execution| execution.id).collect();
        let claim = |limit| Claim { types: types.map(str::to_owned).to_vec(), ..claim(limit) };
        let mut claimed = Vec::new();
        for limit in [1, 2, 3, 5, 7, 50, 50] {
            let some = manager.claim(claim(limit)).await.unwrap();
            claimed.extend(some.into_iter().map(|execution| execution.id));
        }
        assert_eq!(claimed, expected);
        // One look at each type, one at what was found, and the claim.
        clock.advance(Duration::from_secs(60));
        requests.0.store(0, Ordering::Relaxed);
        assert_eq!(manager.claim(claim(1)).await.unwrap().len(), 1);
        assert_eq!(requests.0.load(Ordering::Relaxed), 5);
    });
}

/// Lists may be behind; those of the server of these tests are not.
#[test]
fn lists_go_by_creation_and_show_everything_once() {
    run(async {
        let client = server::client(server::port().await);
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = DynamoStore::open(client, "lists").await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let parent = manager.create(NewExecution::new("parent")).await.unwrap().id;
        for number in 0..30 {
            let mut new = NewExecution::new(["a", "b"][number % 2]).payload(number);
            if number >= 20 {
                new = new.parent(parent);
            }
            manager.create(new).await.unwrap();
            if number % 4 == 3 {
                clock.advance(Duration::from_secs(1));
            }
        }
        let all = manager.list(ListOptions::new()).await.unwrap();
        assert_eq!((all.len(), all.next), (31, None));
        assert!(all.windows(2).all(|pair| Cursor::of(&pair[0]) < Cursor::of(&pair[1])));
        for newest_first in [false, true] {
            let mut options = ListOptions::new().limit(7);
            options.newest_first = newest_first;
            let mut seen = Vec::new();
            loop {
                let page = manager.list(options.clone()).await.unwrap();
                seen.extend(page.iter().map(|execution| execution.id));
                let _ = manager.start(&seen[seen.len() / 2]).await;
                let Some(next) = page.next else { break };
                options = options.after(next);
            }
            if newest_first {
                seen.reverse();
            }
            assert_eq!(seen, all.iter().map(|execution| execution.id).collect::<Vec<_>>());
        }
        let count = async |options| manager.list(options).await.unwrap().len();
        let middle = all[13].created_at;
        assert_eq!(count(ListOptions::new().parent(parent)).await, 10);
        assert_eq!(count(ListOptions::new().type_("b").parent(parent)).await, 5);
        assert_eq!(count(ListOptions::new().type_("b").limit(4)).await, 4);
        let (before, from) = (ListOptions::new().created_before(middle), ListOptions::new().created_from(middle));
        assert_eq!(count(before.clone()).await, 13);
        assert_eq!(count(from.clone().newest_first()).await, 18);
        assert_eq!(count(before.created_from(middle)).await, 0);
        assert_ne!(count(ListOptions::new().status(ExecutionStatus::Running)).await, 0);
    });
}

#[test]
fn a_service_that_is_not_there_is_an_error_that_may_be_repeated() {
    run(async {
        let error = DynamoStore::open(impatient(free_port().unwrap()), "nowhere").await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
    });
}

#[test]
fn lost_answers_leave_open_what_was_written_and_calls_can_be_repeated() {
    run(async {
        let proxy = Proxy::to(Target::Port(server::port().await)).await.unwrap();
        let store = DynamoStore::open(impatient(proxy.port()), "lost").await.unwrap();
        let manager = ExecutionManager::new(store);
        manager.create(NewExecution::new("work").delay(Duration::from_secs(3600))).await.unwrap();
        let create = manager.prepare(NewExecution::new("work").payload(1).idempotency_key("once")).unwrap();
        for weather in [Weather::Silent, Weather::AnswersLost] {
            proxy.weather(weather);
            let error = manager.store().create(vec![create.clone()]).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Unknown));
            assert_eq!(told(&manager.get(&create.id()).await.unwrap_err()), ("STORE", true, Written::Nothing));
            proxy.weather(Weather::Fine);
        }
        assert!(proxy.cut() >= 2, "{}", proxy.cut());
        // The second one has arrived.
        assert_eq!(manager.get(&create.id()).await.unwrap().payload, 1);
        let again = manager.store().create(vec![create.clone()]).await.unwrap().remove(0).into_execution();
        assert_eq!(again, manager.get(&create.id()).await.unwrap());
    });
}

/// The client sends a request again if no answer has come. A condition that its first sending has made false must not be
/// taken for a lost race.
#[test]
fn what_the_client_sends_twice_is_done_once() {
    run(async {
        let proxy = Proxy::to(Target::Port(server::port().await)).await.unwrap();
        let often = RetryConfig::standard().with_max_attempts(12).with_initial_backoff(Duration::from_millis(5));
        let client = Client::from_conf(server::config(proxy.port()).retry_config(often).build());
        let store = DynamoStore::open(client, "twice").await.unwrap();
        let manager = ExecutionManager::new(store);
        let proxy = std::sync::Arc::new(proxy);
        let weather = tokio::spawn({
            let proxy = proxy.clone();
            async move {
                loop {
                    for (weather, ms) in [(Weather::AnswersLost, 10), (Weather::Fine, 25)] {
                        proxy.weather(weather);
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                    }
                }
            }
        });
        let mut done = 0;
        while done < 40 || proxy.cut() < 20 {
            // Whatever is cut meanwhile: the second sending is answered as the first would have been.
            let id = manager.create(NewExecution::new("work")).await.unwrap().id;
            assert_eq!(manager.start(&id).await.unwrap().attempts, 1);
            let checkpoint = manager.checkpoint(&id, "key", done).await.unwrap();
            assert_eq!(manager.complete(&id, done).await.unwrap().version, checkpoint.version + 1);
            done += 1;
        }
        weather.abort();
    });
}

#[test]
fn a_service_that_comes_back_has_what_was_acknowledged() {
    run(async {
        let mut server = server::start(Place::new(), &["tables.db"]);
        let port = server::ready(&server).await;
        let manager = ExecutionManager::new(DynamoStore::open(server::client(port), "back").await.unwrap());
        let id = manager.create(NewExecution::new("work").idempotency_key("once")).await.unwrap().id;
        manager.start(&id).await.unwrap();
        server = server::start(server.kill(), &["tables.db"]);
        let port = server::ready(&server).await;
        let manager = ExecutionManager::new(DynamoStore::open(server::client(port), "back").await.unwrap());
        assert_eq!(manager.get(&id).await.unwrap().status, ExecutionStatus::Running);
        assert_eq!(manager.find_by_idempotency_key("once").await.unwrap().unwrap().id, id);
    });
}
