//! What is particular to Redis: its clock, its keys, its settings, connections that fail, a server that dies.

mod checkpoints;
mod hint;
#[path = "../server/mod.rs"]
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tracer::ManualClock;
use tracer::execution::{
    Beat, Claim, Command, Created, ExecutionError, ExecutionId, ExecutionManager, ExecutionStatus, ExecutionStore,
    Expected, Failure, Lease, ListOptions, NewExecution, Progress, Refusal, Survives, Timestamp, Write, Written,
};
use tracer_redis::{Reconnecting, RedisStore, VALUE_LEN_BYTES_MAX};
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

async fn manager(client: &Client, namespace: &str) -> ExecutionManager<RedisStore> {
    ExecutionManager::new(RedisStore::connect(client.clone(), namespace).await.unwrap())
}

/// At a time that only the test moves.
async fn with_clock(client: &Client, namespace: &str) -> (ManualClock, ExecutionManager<RedisStore>) {
    let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
    let store = RedisStore::connect(client.clone(), namespace).await.unwrap().with_clock(clock.clone());
    (clock, ExecutionManager::new(store))
}

async fn connection(client: &Client) -> MultiplexedConnection {
    // What tests ask for may take long: no timeout.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// What an error says to who has to decide what to do next.
fn told(error: &ExecutionError) -> (&'static str, bool, Written) {
    (error.code(), error.is_retryable(), error.written())
}

/// Everything below a namespace, in texts.
async fn contents(connection: &mut MultiplexedConnection, namespace: &str) -> BTreeMap<String, Vec<String>> {
    let pattern = format!("tracer:{{{namespace}}}*");
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(connection).await.unwrap();
    let mut contents = BTreeMap::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(connection).await.unwrap();
        let mut read = match kind.as_str() {
            "hash" => redis::cmd("HGETALL"),
            "set" => redis::cmd("SMEMBERS"),
            "string" => redis::cmd("MGET"),
            "list" => redis::cmd("LRANGE"),
            _ => redis::cmd("ZRANGE"),
        };
        read.arg(&key);
        if matches!(kind.as_str(), "list" | "zset") {
            read.arg(0).arg(-1);
        }
        if kind == "zset" {
            read.arg("WITHSCORES");
        }
        let mut texts: Vec<String> = read.query_async(connection).await.unwrap();
        if kind == "hash" {
            texts = texts.chunks(2).map(|field| field.join("=")).collect();
        }
        texts.sort();
        contents.insert(key, texts);
    }
    contents
}

#[test]
fn many_may_begin_at_once_and_newer_namespaces_are_left_alone() {
    run(async {
        let client = server::client().await;
        let connect = |_| {
            let client = client.clone();
            tokio::spawn(async move { RedisStore::connect(client, "versions").await.map(drop) })
        };
        let connecting: Vec<_> = (0..16).map(connect).collect();
        for connected in connecting {
            connected.await.unwrap().unwrap();
        }
        let mut other = connection(&client).await;
        for (version, is_ours) in [("3", true), ("2", true), ("99", false), ("1", false), ("one", false)] {
            redis::cmd("SET").arg("tracer:{versions}:version").arg(version).exec_async(&mut other).await.unwrap();
            let opened = RedisStore::connect(client.clone(), "versions").await;
            assert_eq!(opened.is_ok(), is_ours);
            if let Err(error) = opened {
                assert_eq!((error.code(), error.written), ("SCHEMA", Written::Nothing));
                let text = format!(
                    "expected version 3, found {version}: use another namespace, or another version of this program"
                );
                assert_eq!(error.source.to_string(), text);
            }
        }
        for namespace in ["", "a}b", "{a"] {
            let error = RedisStore::connect(client.clone(), namespace).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("STORE", false));
        }
    });
}

#[test]
fn time_is_the_servers() {
    run(async {
        let client = server::client().await;
        let manager = manager(&client, "clock").await;
        let mut other = connection(&client).await;
        let mut now = async || {
            let (s, us): (u64, u64) = redis::cmd("TIME").query_async(&mut other).await.unwrap();
            Timestamp::from_unix_ms(s * 1000 + us / 1000)
        };
        let before = now().await;
        let created = manager.create(NewExecution::new("work").delay(Duration::from_secs(3600))).await.unwrap();
        assert!((before..=now().await).contains(&created.created_at));
        assert_eq!(created.run_at, created.created_at.after(Duration::from_secs(3600)));
        assert!(manager.claim(claim(1)).await.unwrap().is_empty());
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        let before = now().await;
        let claimed = manager.claim(claim(1)).await.unwrap().remove(0);
        assert_eq!(claimed.id, id);
        assert!((before..=now().await).contains(&claimed.started_at.unwrap()));
        assert_eq!(claimed.lease.unwrap().until, claimed.updated_at.after(Duration::from_secs(30)));
    });
}

#[test]
fn what_is_no_execution_keeps_nobody_from_the_others() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "corrupt").await;
        let mut ids = Vec::new();
        for number in 0..11 {
            let large = "x".repeat(if number == 5 { 5000 } else { 0 });
            let new = NewExecution::new("work").payload(format!("{number}{large}")).priority(10 - number);
            ids.push(manager.create(new).await.unwrap().id);
        }
        let mut other = connection(&client).await;
        let mut spoil = async |id: &ExecutionId, how: &dyn Fn(&mut Vec<u8>)| {
            let key = format!("tracer:{{corrupt}}:execution:{id:x}");
            let mut text: Vec<u8> = redis::cmd("GET").arg(&key).query_async(&mut other).await.unwrap();
            how(&mut text);
            redis::cmd("SET").arg(key).arg(text).exec_async(&mut other).await.unwrap();
        };
        let replace =
            |from: u8, to: u8| move |text: &mut Vec<u8>| *text.iter_mut().find(|byte| **byte == from).unwrap() = to;
        spoil(&ids[0], &replace(b'{', b'[')).await;
        spoil(&ids[1], &replace(b'{', b'\xff')).await;
        spoil(&ids[2], &|text| *text.last_mut().unwrap() = b'[').await;
        spoil(&ids[3], &|text| text.truncate(text.len() - 1)).await;
        spoil(&ids[4], &|text| *text = b"something else".to_vec()).await;
        let mut other = connection(&client).await;
        let payload = format!("tracer:{{corrupt}}:payload:{:x}", ids[5]);
        redis::cmd("DEL").arg(payload).exec_async(&mut other).await.unwrap();
        let record = format!("tracer:{{corrupt}}:execution:{:x}", ids[6]);
        redis::cmd("DEL").arg(record).exec_async(&mut other).await.unwrap();
        let list = format!("tracer:{{corrupt}}:execution:{:x}", ids[7]);
        redis::cmd("DEL").arg(&list).exec_async(&mut other).await.unwrap();
        redis::cmd("RPUSH").arg(&list).arg("a list").exec_async(&mut other).await.unwrap();
        let claimed = manager.claim(claim(3)).await.unwrap();
        assert_eq!(claimed.iter().map(|execution| execution.id).collect::<Vec<_>>(), ids[8..]);
        let start = ["tracer:{corrupt}:claimed", &format!("{:x}", ids[8]), "yesterday"];
        redis::cmd("HSET").arg(&start).exec_async(&mut other).await.unwrap();
        let record = format!("tracer:{{corrupt}}:execution:{:x}", ids[10]);
        redis::cmd("DEL").arg(record).exec_async(&mut other).await.unwrap();
        let corrupt = [&ids[..6], &ids[7..9]].concat();
        for id in &corrupt {
            assert_eq!(told(&manager.get(id).await.unwrap_err()), ("CORRUPT", false, Written::Nothing));
            assert_eq!(told(&manager.start(id).await.unwrap_err()), ("CORRUPT", false, Written::Nothing));
        }
        for id in [&ids[6], &ids[10]] {
            assert_eq!(manager.get(id).await.unwrap_err().code(), "NOT_FOUND");
        }
        // Where a record should be, there is none in two places, and something else in a third.
        let unreadable = [&ids[..6], &ids[8..9]].concat();
        assert_eq!(walk(&manager, ListOptions::new()).await, (vec![ids[9]], unreadable));
        clock.advance(Duration::from_secs(31));
        assert_eq!(manager.tick().await.unwrap().failed, 1);
        assert_eq!(manager.get(&ids[9]).await.unwrap().status, ExecutionStatus::Failed);
        redis::cmd("DEL").arg(list).exec_async(&mut other).await.unwrap();
        for id in corrupt.iter().filter(|id| **id != ids[7]) {
            manager.delete(id).await.unwrap();
        }
        assert!(manager.claim(claim(9)).await.unwrap().is_empty());
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().len(), 1);
    });
}

#[test]
fn what_is_no_execution_is_told_and_left_alone_when_what_has_ended_goes() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "old").await;
        let mut ids = Vec::new();
        for number in 0..6 {
            let large = "x".repeat(if number == 4 { 5000 } else { 0 });
            ids.push(manager.create(NewExecution::new("work").payload(large)).await.unwrap().id);
            manager.cancel(ids.last().unwrap(), None).await.unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let key = |part: &str, number: usize| format!("tracer:{{old}}:{part}:{:x}", ids[number]);
        let mut other = connection(&client).await;
        let mut text: Vec<u8> = redis::cmd("GET").arg(key("execution", 0)).query_async(&mut other).await.unwrap();
        *text.iter_mut().find(|byte| **byte == b'{').unwrap() = b'[';
        redis::cmd("SET").arg(key("execution", 0)).arg(text).exec_async(&mut other).await.unwrap();
        redis::cmd("SET").arg(key("execution", 2)).arg("something else").exec_async(&mut other).await.unwrap();
        redis::cmd("DEL").arg(key("payload", 4)).exec_async(&mut other).await.unwrap();
        redis::cmd("DEL").arg(key("execution", 5)).exec_async(&mut other).await.unwrap();
        clock.advance(Duration::from_secs(1));
        let pruned = manager.prune(Duration::from_secs(1)).await.unwrap();
        // Of what is no text of an execution nobody can say whether it has ended.
        assert_eq!((pruned.deleted, pruned.unreadable), (2, 2));
        for number in [0, 2, 4] {
            assert_eq!(manager.get(&ids[number]).await.unwrap_err().code(), "CORRUPT");
        }
    });
}

/// What is large has keys of its own. Nobody sees that, and nothing is left of it.
#[test]
fn large_parts_come_back_and_go_with_the_rest() {
    run(async {
        let client = server::client().await;
        let manager = manager(&client, "parts").await;
        let stranger = self::manager(&client, "parts").await;
        let mut other = connection(&client).await;
        let large = |len: usize| "x".repeat(len - 2);
        let empty = contents(&mut other, "parts").await;
        for len in [4095, 4096, 4097, 100_000] {
            let new =
                NewExecution::new("work").payload(large(len)).metadata("note", large(len)).idempotency_key("once");
            let create = manager.prepare(new).unwrap();
            let made = manager.store().create(vec![create.clone(), create]).await.unwrap();
            let [Created::New(new), Created::Existing(existing)] = &made[..] else { panic!("{made:?}") };
            assert_eq!(new, existing);
            assert_eq!(&stranger.get(&new.id).await.unwrap(), new);
            let claimed = manager.claim(claim(1)).await.unwrap().remove(0);
            assert_eq!(stranger.get(&new.id).await.unwrap(), claimed);
            let (lease, id) = (claimed.token(), claimed.id);
            let kept = manager.under(&lease).checkpoint(&id, "half", large(len)).await.unwrap();
            assert_eq!(stranger.get(&id).await.unwrap(), kept);
            let done = manager.under(&lease).complete(&id, large(len)).await.unwrap();
            assert_eq!(done.payload, done.result.clone().unwrap());
            assert_eq!((&done.payload, done.checkpoints.get("half")), (&claimed.payload, Some(&claimed.payload)));
            assert_eq!(stranger.get(&id).await.unwrap(), done);
            assert_eq!(stranger.list(ListOptions::new()).await.unwrap()[..], [done]);
            stranger.delete(&id).await.unwrap();
            assert_eq!(contents(&mut other, "parts").await, empty);
        }
    });
}

/// A server that hands nobody more than four answers' worth at once.
#[test]
fn what_is_there_already_is_answered_in_parts() {
    const LEN: usize = 1 << 20;
    run(async {
        let server = servers::redis(Place::new(), &["--save", "", "--client-output-buffer-limit", "normal 32mb 0 0"]);
        let manager = manager(&server::ready(&server).await, "existing").await;
        let named = |number: usize| NewExecution::new("work").payload(number).idempotency_key(number.to_string());
        let mut done = Vec::new();
        for number in 0..60 {
            let id = manager.create(named(number)).await.unwrap().id;
            manager.start(&id).await.unwrap();
            done.push(manager.complete(&id, "x".repeat(LEN)).await.unwrap());
        }
        // Each twice, and new ones between them.
        let again = (0..62).chain(0..62).map(named).collect::<Vec<_>>();
        let again = manager.create_all(again).await.unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>();
        let (first, second) = again.split_at(62);
        assert_eq!(first[..60], done);
        assert!(first[60..].iter().all(|new| new.status == ExecutionStatus::Pending));
        assert_eq!(first, second);
    });
}

/// Nobody claims it any more: it must not look as if it only had to wait.
#[test]
fn what_was_set_aside_is_said_to_be_corrupt() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "aside").await;
        let mut other = connection(&client).await;
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        assert_eq!(manager.claim(claim(1)).await.unwrap().len(), 1);
        let start = ["tracer:{aside}:claimed", &format!("{id:x}"), "yesterday"];
        redis::cmd("HSET").arg(&start).exec_async(&mut other).await.unwrap();
        clock.advance(Duration::from_secs(31));
        assert_eq!(manager.tick().await.unwrap().total(), 0);
        let error = manager.get(&id).await.unwrap_err();
        assert_eq!(told(&error), ("CORRUPT", false, Written::Nothing));
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("set aside"), "{error:?}");
        assert_eq!(walk(&manager, ListOptions::new()).await, (vec![], vec![id]));
        manager.delete(&id).await.unwrap();
        assert!(manager.list(ListOptions::new()).await.unwrap().is_empty());
    });
}

/// What is remembered of a claim is only a guess at what is there.
#[test]
fn what_others_have_changed_since_a_claim_is_seen() {
    run(async {
        let client = server::client().await;
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let open = async || RedisStore::connect(client.clone(), "guess").await.unwrap().with_clock(clock.clone());
        let (manager, other) = (ExecutionManager::new(open().await), ExecutionManager::new(open().await));
        for number in 0..4 {
            manager.create(NewExecution::new("work").payload(number).max_attempts(2)).await.unwrap();
        }
        let claimed = manager.claim(claim(4)).await.unwrap();
        let [asked, beaten, taken, deleted] = &claimed[..] else { panic!("{claimed:?}") };
        let done = |lease: Lease| Write::under(lease, Command::Complete { result: "done".into() });

        other.cancel(&asked.id, Some("enough")).await.unwrap();
        let failure = Failure::new("no").retryable(true);
        let fail = Write::under(asked.token(), Command::Fail { failure, random: 0 });
        manager.settle(vec![fail]).await.unwrap().remove(0).unwrap();
        assert_eq!(other.get(&asked.id).await.unwrap().status, ExecutionStatus::Cancelled);

        other.heartbeat(&[beaten.token()], Duration::from_secs(90)).await.unwrap();
        let halfway = other.under(&beaten.token()).update_progress(&beaten.id, Progress::new(1, 2)).await.unwrap();
        let expected = |version| Expected { version: Some(version), ..beaten.token().into() };
        let progress = Write::under(beaten.token(), Command::Progress(Progress::new(2, 2)));
        let write = Write { expected: expected(halfway.version), ..progress };
        let written = manager.store().update(vec![write.clone(), write]).await.unwrap();
        assert_eq!(written[0].as_ref().unwrap().lease, halfway.lease);
        assert_eq!(written[1].as_ref().unwrap_err().code(), "VERSION_CONFLICT");
        manager.settle(vec![done(beaten.token())]).await.unwrap().remove(0).unwrap();

        clock.advance(Duration::from_secs(31));
        assert_eq!(other.tick().await.unwrap().retried, 2);
        let again = other.claim(claim(2)).await.unwrap();
        other.settle(again.iter().map(|again| done(again.token())).collect()).await.unwrap();
        other.delete(&deleted.id).await.unwrap();
        let refused = manager.settle(vec![done(taken.token()), done(deleted.token())]).await.unwrap();
        let lost = Refusal::LeaseLost { expected: 1, found: 2, status: ExecutionStatus::Completed };
        assert_eq!(refused, [Err(lost), Err(Refusal::NotFound)]);
    });
}

/// What a script has written stays when it fails. So none fails once it has written, whatever it finds.
#[test]
fn a_script_that_finds_a_key_of_another_kind_writes_nothing() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "kinds").await;
        let mut other = connection(&client).await;
        let parent = manager.create(NewExecution::new("parent").delay(Duration::from_secs(3600))).await.unwrap().id;
        let new = || NewExecution::new("work").parent(parent).max_attempts(9);
        for number in 0..4 {
            manager.create(new().idempotency_key(format!("key-{number}"))).await.unwrap();
        }
        let [held, keeps] = &manager.claim(claim(2)).await.unwrap()[..] else { panic!("two are due") };
        let keep = || Write::under(keeps.token(), Command::checkpoint("key", 1).unwrap());
        manager.settle(vec![keep()]).await.unwrap();
        let waiting = manager.list(ListOptions::new().status(ExecutionStatus::Pending)).await.unwrap()[2].id;
        clock.advance(Duration::from_secs(31));
        let keys: Vec<String> = contents(&mut other, "kinds").await.into_keys().collect();
        let mut refused = 0;
        for key in keys.iter().filter(|key| !key.ends_with(":version")) {
            for operation in ["create", "claim", "claim by id", "settle", "keep", "delete", "sweep"] {
                let mut kept = Vec::new();
                for key in &keys {
                    let dump: Vec<u8> = redis::cmd("DUMP").arg(key).query_async(&mut other).await.unwrap();
                    kept.push((key, dump));
                }
                redis::cmd("DEL").arg(key).exec_async(&mut other).await.unwrap();
                redis::cmd("RPUSH").arg(key).arg("something else").exec_async(&mut other).await.unwrap();
                let before = contents(&mut other, "kinds").await;
                let failure = Failure::new("no").retryable(true);
                let fail = Write::under(held.token(), Command::Fail { failure, random: 0 });
                let done = match operation {
                    "create" => manager.create(new().idempotency_key("another")).await.map(drop),
                    "claim" => manager.claim(claim(5)).await.map(drop),
                    "claim by id" => manager.claim_by_id(&waiting, "worker", Duration::from_secs(30)).await.map(drop),
                    "settle" => manager.settle(vec![fail]).await.map(drop),
                    "keep" => manager.settle(vec![keep()]).await.map(drop),
                    "delete" => manager.delete(&waiting).await,
                    _ => manager.tick().await.map(drop),
                };
                if let Err(error) = done {
                    assert_eq!(told(&error), ("CORRUPT", false, Written::Nothing), "{key}, {operation}");
                    let is_as_before = contents(&mut other, "kinds").await == before;
                    assert!(is_as_before, "{key}, {operation}");
                    refused += 1;
                }
                for key in contents(&mut other, "kinds").await.keys() {
                    redis::cmd("DEL").arg(key).exec_async(&mut other).await.unwrap();
                }
                for (key, dump) in kept {
                    redis::cmd("RESTORE").arg(key).arg(0).arg(dump).exec_async(&mut other).await.unwrap();
                }
            }
        }
        assert!(refused > 20, "{refused}");
        assert_eq!(manager.claim(claim(9)).await.unwrap().len(), 2);
    });
}

#[test]
fn a_cluster_keeps_a_namespace_on_one_node() {
    run(async {
        let port = free_port().unwrap();
        let settings = ["--save", "", "--cluster-enabled", "yes", "--port", &port.to_string()].map(str::to_owned);
        let server = servers::redis(Place::new(), &settings.each_ref().map(String::as_str));
        let client = server::ready(&server).await;
        let mut other = connection(&client).await;
        redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec_async(&mut other).await.unwrap();
        // It takes a moment to notice that it has them all.
        while let Err(error) = RedisStore::connect(client.clone(), "cluster").await {
            assert!(error.is_retryable(), "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let manager = manager(&client, "cluster").await;
        let parent = manager.create(NewExecution::new("parent").idempotency_key("once")).await.unwrap().id;
        manager.create(NewExecution::new("part").parent(parent).priority(3)).await.unwrap();
        for execution in manager.claim(claim(5)).await.unwrap() {
            let lease = execution.token();
            manager.heartbeat(&[lease], Duration::from_secs(5)).await.unwrap();
            manager.under(&lease).complete(&lease.id, ()).await.unwrap();
        }
        assert_eq!(manager.list(ListOptions::new().parent(parent)).await.unwrap().len(), 1);
        manager.tick().await.unwrap();
        manager.delete(&parent).await.unwrap();
    });
}

#[test]
fn a_backlog_of_a_million_costs_a_claim_no_more_than_a_small_one() {
    run(async {
        // A server of its own: it takes up much of one.
        let server = servers::redis(Place::new(), &["--save", ""]);
        let client = server::ready(&server).await;
        let manager = manager(&client, "backlog").await;
        let template = NewExecution::new("work").payload("x").delay(Duration::from_secs(3600));
        let template = manager.create(template).await.unwrap();
        let mut other = connection(&client).await;
        let small = spent_on_claims(&manager, &mut other, 200).await;
        // As a million creations would leave it.
        let fill = redis::Script::new(
            "for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
                 local id = string.format('%032x', number)
                 local place = string.sub(ARGV[1], 1, 16) .. id
                 local old = redis.call('GET', KEYS[1] .. ':execution:' .. string.sub(ARGV[1], 17))
                 local new = string.gsub(old, string.sub(ARGV[1], 17), id)
                 redis.call('SET', KEYS[1] .. ':execution:' .. id, new)
                 redis.call('ZADD', KEYS[1] .. ':created', 0, place)
                 redis.call('ZADD', KEYS[1] .. ':waiting:0:work', ARGV[4], place)
             end
             redis.call('ZADD', KEYS[1] .. ':priorities:work', 0, '0')
             redis.call('SADD', KEYS[1] .. ':types', 'work')",
        );
        let place = format!("{:016x}{:x}", template.created_at.unix_ms(), template.id);
        let due = template.created_at.unix_ms();
        for part in 0..100 {
            let (from, to) = (part * 10_000 + 1, (part + 1) * 10_000);
            let mut fill = fill.key("tracer:{backlog}");
            fill.arg(&place).arg(from).arg(to).arg(due).invoke_async::<()>(&mut other).await.unwrap();
        }
        let large = spent_on_claims(&manager, &mut other, 200).await;
        assert!(large < small * 3, "µs a claim and its end: {small} before, {large} with a million more");
        let page = manager.list(ListOptions::new().newest_first().limit(1000)).await.unwrap();
        assert_eq!(page.len(), 1000);
        assert!(page.next.is_some());
    });
}

/// What the server spends on 20 batches of claims and ends, in microseconds a batch. Before it makes the batches.
async fn spent_on_claims(manager: &ExecutionManager<RedisStore>, other: &mut MultiplexedConnection, limit: u32) -> u64 {
    const BATCHES: u32 = 20;
    for _ in 0..BATCHES {
        let new = (0..limit).map(|number| NewExecution::new("work").payload(number));
        manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
    }
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(other).await.unwrap();
    for _ in 0..BATCHES {
        let claimed = manager.claim(claim(limit)).await.unwrap();
        assert_eq!(claimed.len(), limit as usize);
        let end = |lease: Lease| Write::under(lease, Command::Complete { result: ().into() });
        let ends = claimed.iter().map(|execution| end(execution.token())).collect();
        assert!(manager.settle(ends).await.unwrap().iter().all(Result::is_ok));
        manager.tick().await.unwrap();
    }
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(other).await.unwrap();
    let evalsha = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap();
    let us: u64 = evalsha.split(',').find_map(|field| field.strip_prefix("usec=")?.parse().ok()).unwrap();
    us / u64::from(BATCHES)
}

#[test]
fn values_that_are_too_large_are_refused_and_the_limit_is_named() {
    run(async {
        // A server of its own: it takes up much of one.
        let server = servers::redis(Place::new(), &["--save", ""]);
        let client = server::ready(&server).await;
        let manager = manager(&client, "large").await;
        let fits = "x".repeat(VALUE_LEN_BYTES_MAX - 2);
        let id = manager.create(NewExecution::new("work").payload(&fits)).await.unwrap().id;
        let error = manager.create(NewExecution::new("work").payload(format!("{fits}x"))).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "expected a value of at most 67108864 bytes of JSON, found 67108865");
        manager.start(&id).await.unwrap();
        let error = manager.complete(&id, format!("{fits}x")).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        assert_eq!(manager.get(&id).await.unwrap().status, ExecutionStatus::Running);
        assert_eq!(manager.complete(&id, &fits).await.unwrap().result, Some(fits.into()));
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().len(), 1);
    });
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_may_be_repeated() {
    run(async {
        let client = Client::open(format!("redis://127.0.0.1:{}", free_port().unwrap())).unwrap();
        let error = RedisStore::connect(client, "nowhere").await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
    });
}

/// A store behind a network that fails. It waits shortly, so that the tests do not wait long.
async fn behind(client: &Client, namespace: &str) -> (Proxy, ExecutionManager<RedisStore>) {
    let redis::ConnectionAddr::Unix(path) = client.get_connection_info().addr().clone() else {
        panic!("it listens at a socket")
    };
    let proxy = Proxy::to(Target::Socket(path)).await.unwrap();
    let client = Client::open(format!("redis://127.0.0.1:{}", proxy.port())).unwrap();
    let connection = Reconnecting::new(client, Duration::from_millis(300));
    let store = RedisStore::with_connection(connection, namespace).await.unwrap();
    (proxy, ExecutionManager::new(store))
}

#[test]
fn a_lost_answer_leaves_open_what_was_written_and_the_call_can_be_repeated() {
    run(async {
        let (proxy, manager) = behind(&server::client().await, "lost").await;
        let create = manager.prepare(NewExecution::new("work").payload(1)).unwrap();
        for weather in [Weather::AnswersLost, Weather::Silent] {
            proxy.weather(weather);
            let error = manager.store().create(vec![create.clone()]).await.unwrap_err();
            // Reading the time comes first: nothing can have been written.
            assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
            let error = manager.claim(claim(1)).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("STORE", true));
            let error = manager.get(&create.id()).await.unwrap_err();
            assert_eq!(told(&error), ("STORE", true, Written::Nothing));
            proxy.weather(Weather::Fine);
            manager.tick().await.unwrap();
        }
        assert!(manager.claim(claim(1)).await.unwrap().is_empty());
        manager.store().create(vec![create.clone()]).await.unwrap();
        // A claim is one script, which the server has by now.
        proxy.weather(Weather::AnswersLost);
        let error = manager.claim(claim(1)).await.unwrap_err();
        assert_eq!(told(&error), ("STORE", true, Written::Unknown));
        proxy.weather(Weather::Fine);
        let held = manager.get(&create.id()).await.unwrap();
        assert_eq!((held.status, held.epoch), (ExecutionStatus::Running, 1));
        assert!(proxy.cut() >= 4, "{}", proxy.cut());
    });
}

/// Workers on connections that are cut all the time: nothing is lost, nothing is done twice in the store.
#[test]
fn what_was_acknowledged_survives_connections_that_are_cut() {
    run(async {
        const JOBS: usize = 300;
        let client = server::client().await;
        let (proxy, manager) = behind(&client, "cut").await;
        let new = (0..JOBS).map(|number| NewExecution::new("work").payload(number).max_attempts(50));
        manager.create_all(new.collect::<Vec<_>>()).await.unwrap();
        let weather = tokio::spawn(async move {
            loop {
                for (weather, ms) in [(Weather::AnswersLost, 3), (Weather::Fine, 20)] {
                    proxy.weather(weather);
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
            }
        });
        let work = |_| {
            let manager = manager.clone();
            tokio::spawn(async move {
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
        let mut acknowledged = BTreeMap::new();
        let mut errors = 0;
        for worker in workers {
            let (done, failed) = worker.await.unwrap();
            errors += failed;
            for (id, epoch) in done {
                assert_eq!(acknowledged.insert(id, epoch), None, "{id} was completed twice");
            }
        }
        weather.abort();
        assert!(errors > 0, "no connection was cut in the midst of anything");
        let manager = self::manager(&client, "cut").await;
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
fn what_was_acknowledged_survives_the_servers_death_if_it_says_so() {
    run(async {
        let settings = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let mut server = servers::redis(Place::new(), &settings);
        let client = server::ready(&server).await;
        let manager = manager(&client, "death").await;
        assert_eq!(manager.store().capabilities().survives, Survives::PowerLoss);
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            let working = manager.clone();
            let (tell, mut told) = tokio::sync::watch::channel(0);
            let work = tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    tell.send_replace(acknowledged.len());
                    let Ok(created) = working.create(NewExecution::new("work").payload(round)).await else { break };
                    acknowledged.push((created.id, created.version));
                    let Ok(started) = working.start(&created.id).await else { break };
                    acknowledged.push((started.id, started.version));
                }
                acknowledged
            });
            told.wait_for(|count| *count >= 100).await.unwrap();
            let place = server.kill();
            acknowledged.extend(work.await.unwrap());
            server = servers::redis(place, &settings);
            server::ready(&server).await;
            // The same store goes on, though its scripts and its connection are gone.
            for (id, version) in &acknowledged {
                assert!(manager.get(id).await.unwrap().version >= *version);
            }
        }
    });
}

#[test]
fn a_server_whose_memory_is_full_can_be_worked_off_and_emptied() {
    run(async {
        let server = servers::redis(Place::new(), &["--save", ""]);
        let client = server::ready(&server).await;
        let mut other = connection(&client).await;
        let manager = manager(&client, "full").await;
        for _ in 0..4 {
            manager.create(NewExecution::new("work").max_attempts(2)).await.unwrap();
        }
        let held = manager.claim(claim(2)).await.unwrap();
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1mb").exec_async(&mut other).await.unwrap();
        assert!(manager.create(NewExecution::new("work")).await.is_err(), "nothing is taken in");
        // A process that is started now can help.
        let manager = ExecutionManager::new(RedisStore::connect(client, "full").await.unwrap());
        let all = manager.list(ListOptions::new()).await.unwrap();
        assert_eq!(all.len(), 4);
        let lease = held[0].token();
        assert_eq!(manager.heartbeat(&[lease], Duration::from_secs(30)).await.unwrap(), [Beat::Held]);
        manager.under(&lease).checkpoint(&lease.id, "key", 1).await.unwrap();
        manager.under(&lease).complete(&lease.id, "done").await.unwrap();
        let retried = Failure::new("no").retryable(true);
        manager.under(&held[1].token()).fail(&held[1].id, retried).await.unwrap();
        assert_eq!(manager.tick().await.unwrap().total(), 0);
        let more = manager.claim(claim(1)).await.unwrap().remove(0);
        manager.cancel(&more.id, None).await.unwrap();
        manager.under(&more.token()).release(&more.id, Duration::ZERO).await.unwrap();
        for execution in &all {
            manager.delete(&execution.id).await.unwrap();
        }
        assert!(manager.list(ListOptions::new()).await.unwrap().is_empty());
    });
}

#[test]
fn settings_are_looked_at() {
    run(async {
        let server = servers::redis(Place::new(), &["--save", "", "--appendonly", "yes"]);
        let client = server::ready(&server).await;
        let mut other = connection(&client).await;
        let manager = manager(&client, "settings").await;
        assert_eq!(manager.store().capabilities().survives, Survives::Kill);
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1mb").exec_async(&mut other).await.unwrap();
        let error = manager.create(NewExecution::new("work")).await.unwrap_err();
        assert_eq!(told(&error), ("STORE", true, Written::Nothing));
        let policy = ["maxmemory-policy", "allkeys-lru"];
        redis::cmd("CONFIG").arg("SET").arg(&policy).exec_async(&mut other).await.unwrap();
        let error = RedisStore::connect(client, "settings").await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", false, Written::Nothing));
        assert_eq!(
            error.source.to_string(),
            "expected maxmemory-policy noeviction, found allkeys-lru: the server would throw executions away"
        );
    });
}
