//! Checkpoints: each an item of a table of its own, and what version 1 had instead.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use tracer::execution::{Command, Execution, Lease, Refusal, Write};

use super::*;

type Item = HashMap<String, AttributeValue>;
pub(super) type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn keep(lease: Lease, key: &str, value: impl Into<String>) -> Write {
    Write::under(lease, Command::checkpoint(key, value.into()).unwrap())
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

async fn claimed(manager: &ExecutionManager<DynamoStore>) -> Execution {
    manager.create(NewExecution::new("work").max_attempts(3)).await.unwrap();
    manager.claim(claim(1)).await.unwrap().remove(0)
}

async fn kept(manager: &ExecutionManager<DynamoStore>, id: &ExecutionId) -> Vec<(String, String)> {
    let checkpoints = manager.get(id).await.unwrap().checkpoints;
    checkpoints.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect()
}

async fn all(client: &Client, table: &str) -> Vec<Item> {
    client.scan().table_name(table).consistent_read(true).send().await.unwrap().items.unwrap()
}

/// Does something just before one of the next requests is sent, or keeps it from being sent.
#[derive(Default, Clone)]
pub(super) struct Before(Arc<Mutex<Option<Next>>>);

/// How many requests come first, and what to do then.
pub(super) type Next = (u32, Box<dyn FnOnce() -> Done + Send>);

impl Before {
    pub(super) fn request(&self, number: u32, act: impl FnOnce() -> Done + Send + 'static) {
        *self.0.lock().unwrap() = Some((number, Box::new(act)));
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Before")
    }
}

impl Intercept for Before {
    fn name(&self) -> &'static str {
        "before"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Done {
        let act = self.0.lock().unwrap().take_if(|(number, _)| {
            let is_now = *number == 0;
            *number = number.saturating_sub(1);
            is_now
        });
        act.map_or(Ok(()), |(_, act)| act())
    }
}

#[test]
fn one_more_reads_none_of_the_others() {
    run(async {
        let requests = Counted::default();
        let config = server::config(server::port().await).interceptor(requests.clone());
        let manager =
            ExecutionManager::new(DynamoStore::open(Client::from_conf(config.build()), "cost").await.unwrap());
        let lease = claimed(&manager).await.token();
        let mut count = 0;
        for more in [1, 300] {
            // All of them are much more than an item may have, and more than one answer has.
            let writes = (count..count + more).map(|number| keep(lease, &number.to_string(), "x".repeat(5000)));
            assert!(manager.settle(writes.collect()).await.unwrap().iter().all(Result::is_ok));
            count += more;
            requests.0.store(0, Ordering::Relaxed);
            manager.settle(vec![keep(lease, "one more", "x")]).await.unwrap().remove(0).unwrap();
            manager.heartbeat(&[lease], Duration::from_secs(30)).await.unwrap();
            // Reading the execution, and writing, twice.
            assert_eq!(requests.0.load(Ordering::Relaxed), 4);
        }
        assert_eq!(kept(&manager, &lease.id).await.len(), 302);
    });
}

#[test]
fn each_may_fill_an_item_and_the_limit_is_named() {
    run(async {
        let manager = manager("full-checkpoints").await;
        let new = NewExecution::new("work").payload("x".repeat(370_000));
        manager.create(new).await.unwrap();
        let lease = manager.claim(claim(1)).await.unwrap().remove(0).token();
        let large = |number: u32| keep(lease, &number.to_string(), "x".repeat(409_400));
        let answers = manager.settle((0..20).map(large).collect()).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        let before = manager.get(&lease.id).await.unwrap();
        assert_eq!(before.checkpoints.len(), 20);
        let error = manager.settle(vec![keep(lease, "20", "x".repeat(409_600))]).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "expected a checkpoint of at most 409600 bytes with its keys, found 409738");
        // Of those that are written together the ones before may be there.
        let writes = (0..10).map(large).chain([keep(lease, "20", "x".repeat(409_600))]).collect();
        assert_eq!(told(&manager.settle(writes).await.unwrap_err()), ("TOO_LARGE", false, Written::Unknown));
        assert_eq!(manager.get(&lease.id).await.unwrap().checkpoints, before.checkpoints);
    });
}

#[test]
fn any_number_can_be_kept_in_one_batch() {
    run(async {
        let manager = manager("batch").await;
        let held = claimed(&manager).await;
        let lease = held.token();
        let stale = Lease { epoch: lease.epoch + 1, ..lease };
        let mut writes: Vec<Write> =
            (0..60).map(|number| keep(lease, &(number % 7).to_string(), number.to_string())).collect();
        writes.insert(31, keep(stale, "no", "x"));
        let answers = manager.settle(writes).await.unwrap();
        assert!(answers.iter().enumerate().all(|(number, answer)| answer.is_ok() != (number == 31)));
        let last = |key: u32| (key.to_string(), (53 + (key + 3) % 7).to_string());
        assert_eq!(kept(&manager, &lease.id).await, (0..7).map(last).collect::<Vec<_>>());
        assert_eq!(manager.get(&lease.id).await.unwrap().version, held.version + 60);
    });
}

/// It has read the execution as its own, and learns only when it writes that it is no longer so.
#[test]
fn a_stale_worker_keeps_nothing() {
    run(async {
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let (port, before) = (server::port().await, Before::default());
        let open = async |client| {
            ExecutionManager::new(DynamoStore::open(client, "stale").await.unwrap().with_clock(clock.clone()))
        };
        let slow = open(Client::from_conf(server::config(port).interceptor(before.clone()).build())).await;
        let quick = open(server::client(port)).await;
        let stale = claimed(&slow).await.token();
        slow.settle(vec![keep(stale, "early", "right")]).await.unwrap().remove(0).unwrap();
        let handle = tokio::runtime::Handle::current();
        let meanwhile = quick.clone();
        before.request(1, move || {
            let others = async {
                clock.advance(Duration::from_secs(31));
                assert_eq!(meanwhile.tick().await.unwrap().retried, 1);
                let lease = meanwhile.claim(claim(1)).await.unwrap().remove(0).token();
                meanwhile.settle(vec![keep(lease, "row", "right")]).await.unwrap().remove(0).unwrap();
            };
            tokio::task::block_in_place(|| handle.block_on(others));
            Ok(())
        });
        let answers = slow.settle(vec![keep(stale, "row", "wrong"), keep(stale, "another", "x")]).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Err(Refusal::LeaseLost { .. }))), "{answers:?}");
        let right = |key: &str| (key.to_owned(), "right".to_owned());
        assert_eq!(kept(&quick, &stale.id).await, [right("early"), right("row")]);
    });
}

/// What is answered to a lost race is the item alone: who wants to see all gets all.
#[test]
fn a_write_that_lost_a_race_shows_what_the_winner_has_kept() {
    run(async {
        let (port, before) = (server::port().await, Before::default());
        let open = async |client| ExecutionManager::new(DynamoStore::open(client, "race").await.unwrap());
        let slow = open(Client::from_conf(server::config(port).interceptor(before.clone()).build())).await;
        let quick = open(server::client(port)).await;
        let lease = claimed(&slow).await.token();
        let (handle, meanwhile) = (tokio::runtime::Handle::current(), quick.clone());
        before.request(1, move || {
            let others = meanwhile.settle(vec![keep(lease, "first", "x")]);
            tokio::task::block_in_place(|| handle.block_on(others))?.remove(0)?;
            Ok(())
        });
        let answer = slow.under(&lease).checkpoint(&lease.id, "second", "y").await.unwrap();
        assert_eq!(answer, quick.get(&lease.id).await.unwrap());
        assert_eq!(answer.checkpoints.len(), 2);
    });
}

#[test]
fn a_deletion_leaves_nothing() {
    run(async {
        let client = server::client(server::port().await);
        let manager = manager("deleted").await;
        let lease = claimed(&manager).await.token();
        let other = claimed(&manager).await.token();
        for (lease, count) in [(lease, 1200), (other, 2)] {
            let writes = (0..count).map(|number| keep(lease, &number.to_string(), "x"));
            manager.settle(writes.collect()).await.unwrap();
            manager.under(&lease).complete(&lease.id, ()).await.unwrap();
        }
        manager.delete(&lease.id).await.unwrap();
        assert_eq!(all(&client, "deleted-checkpoints").await.len(), 2);
        // The version, the types, and the other one.
        assert_eq!(all(&client, "deleted").await.len(), 3);
        assert_eq!(kept(&manager, &other.id).await.len(), 2);
    });
}

/// Its checkpoints are still there. Nobody sees them, not even an execution with its id, and a sweep deletes them.
#[test]
fn what_a_deletion_that_was_cut_off_leaves_is_seen_by_nobody() {
    run(async {
        let client = server::client(server::port().await);
        let before = Before::default();
        let config = server::config(server::port().await).retry_config(RetryConfig::disabled());
        let failing = Client::from_conf(config.interceptor(before.clone()).build());
        let manager = ExecutionManager::new(DynamoStore::open(failing, "cut").await.unwrap());
        let create = manager.prepare(NewExecution::new("work")).unwrap();
        let attempt = async |count: u32| {
            manager.store().create(vec![create.clone()]).await.unwrap();
            let lease = manager.claim(claim(1)).await.unwrap().remove(0).token();
            let writes = (0..count).map(|number| keep(lease, &number.to_string(), "x"));
            manager.settle(writes.collect()).await.unwrap();
            lease
        };
        let lease = attempt(40).await;
        manager.under(&lease).complete(&lease.id, ()).await.unwrap();
        // It is read and deleted; then its checkpoints are looked for, and deleted.
        before.request(3, || Err("cut off".into()));
        manager.delete(&lease.id).await.unwrap();
        assert_eq!(manager.get(&lease.id).await.unwrap_err().code(), "NOT_FOUND");
        assert_eq!(all(&client, "cut-checkpoints").await.len(), 40);
        let again = attempt(1).await;
        assert_eq!(again.id, lease.id);
        assert_eq!(kept(&manager, &again.id).await.len(), 1);
        manager.tick().await.unwrap();
        assert_eq!(all(&client, "cut-checkpoints").await.len(), 1);
        assert_eq!(all(&client, "cut").await.len(), 3);
        assert_eq!(kept(&manager, &again.id).await.len(), 1);
    });
}

#[test]
fn checkpoints_that_are_none_keep_nobody_from_the_others() {
    run(async {
        let client = server::client(server::port().await);
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let store = DynamoStore::open(client.clone(), "none").await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        let mut leases = Vec::new();
        for _ in 0..2 {
            let lease = claimed(&manager).await.token();
            manager.settle(vec![keep(lease, "row", "x")]).await.unwrap().remove(0).unwrap();
            leases.push(lease);
        }
        let mut item = all(&client, "none-checkpoints").await.remove(0);
        let spoilt: ExecutionId = item["kept"].as_s().unwrap()[..32].parse().unwrap();
        item.remove("text");
        client.put_item().table_name("none-checkpoints").set_item(Some(item)).send().await.unwrap();
        clock.advance(Duration::from_secs(31));
        assert_eq!(manager.tick().await.unwrap().retried, 2);
        let claimed = manager.claim(claim(9)).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_ne!(claimed[0].id, spoilt);
        assert_eq!(told(&manager.get(&spoilt).await.unwrap_err()), ("CORRUPT", false, Written::Nothing));
        manager.delete(&spoilt).await.unwrap();
        assert_eq!(all(&client, "none-checkpoints").await.len(), 1);
    });
}

#[test]
fn what_version_1_kept_is_found_beside_what_is_kept_now() {
    run(async {
        let client = server::client(server::port().await);
        let manager = manager("old").await;
        let lease = claimed(&manager).await.token();
        let none = claimed(&manager).await.token();
        let full = claimed(&manager).await.token();
        let much = format!("{{\"a\":\"{}\"}}", "x".repeat(372_000));
        for (lease, old) in [(lease, r#"{"a":"old","b":"old"}"#), (none, "{}"), (full, &much)] {
            let update = client.update_item().table_name("old").key("pk", s(&format!("execution#{:x}", lease.id)));
            let update = update.update_expression("SET checkpoints = :old").expression_attribute_values(":old", s(old));
            update.send().await.unwrap();
        }
        let put = client.put_item().table_name("old").item("pk", s("version"));
        put.item("version", AttributeValue::N("1".into())).send().await.unwrap();
        client.delete_table().table_name("old-checkpoints").send().await.unwrap();

        let manager = self::manager("old").await;
        let version = all(&client, "old").await.into_iter().find(|item| item["pk"] == s("version")).unwrap();
        assert_eq!(version["version"], AttributeValue::N("2".into()));
        let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(kept(&manager, &lease.id).await, pairs(&[("a", "old"), ("b", "old")]));
        manager.heartbeat(&[lease], Duration::from_secs(30)).await.unwrap();
        let writes = vec![keep(lease, "b", "new"), keep(lease, "c", "new"), keep(none, "c", "new")];
        assert!(manager.settle(writes).await.unwrap().iter().all(Result::is_ok));
        let expected = pairs(&[("a", "old"), ("b", "new"), ("c", "new")]);
        assert_eq!(kept(&manager, &lease.id).await, expected);
        assert_eq!(kept(&manager, &none.id).await, pairs(&[("c", "new")]));
        let done = manager.under(&lease).complete(&lease.id, ()).await.unwrap();
        assert_eq!(done.checkpoints.len(), 3);
        // It still takes room that attempts need.
        let error = manager.under(&full).complete(&full.id, "x".repeat(10_000)).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        manager.under(&full).complete(&full.id, "done").await.unwrap();
        assert_eq!(kept(&manager, &lease.id).await, expected);
        manager.delete(&lease.id).await.unwrap();
        assert_eq!(all(&client, "old-checkpoints").await.len(), 1);
    });
}
