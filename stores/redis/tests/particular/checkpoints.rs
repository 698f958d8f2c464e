//! Checkpoints: each a field of a hash, and what version 2 had instead.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, Pipeline, RedisFuture};
use serde_json::Value;
use tracer::execution::Execution;

use super::*;

fn keep(lease: Lease, key: &str, value: impl Into<Value>) -> Write {
    Write::under(lease, Command::checkpoint(key, value.into()).unwrap())
}

async fn claimed(manager: &ExecutionManager<RedisStore>, new: NewExecution) -> Execution {
    manager.create(new).await.unwrap();
    manager.claim(claim(1)).await.unwrap().remove(0)
}

async fn info(other: &mut MultiplexedConnection, section: &str) -> HashMap<String, String> {
    let info: String = redis::cmd("INFO").arg(section).query_async(other).await.unwrap();
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn one_more_reads_neither_the_others_nor_the_payload() {
    run(async {
        // A server of its own, whose counters are of this test.
        let server = servers::redis(Place::new(), &["--save", ""]);
        let client = server::ready(&server).await;
        let manager = manager(&client, "cost").await;
        let lease = claimed(&manager, NewExecution::new("work").payload("x".repeat(100_000))).await.token();
        let mut other = connection(&client).await;
        let mut spent = Vec::new();
        for count in [1, 5000] {
            let all = (0..count).map(|number| keep(lease, &format!("row/{number}"), "x".repeat(100)));
            assert!(manager.settle(all.collect()).await.unwrap().iter().all(Result::is_ok));
            redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut other).await.unwrap();
            manager.settle(vec![keep(lease, "one more", count)]).await.unwrap().remove(0).unwrap();
            manager.heartbeat(&[lease], Duration::from_secs(30)).await.unwrap();
            let commands = info(&mut other, "commandstats").await;
            assert!(!commands.contains_key("cmdstat_hgetall") && commands.contains_key("cmdstat_hset"));
            let stats = info(&mut other, "stats").await;
            let bytes = |name: &str| stats[name].parse::<u64>().unwrap();
            spent.push(bytes("total_net_input_bytes") + bytes("total_net_output_bytes"));
        }
        let [few, many] = spent[..] else { unreachable!() };
        assert!(many < few + 500 && many < 30_000, "bytes beside one, and beside 5000: {spent:?}");
        assert_eq!(manager.get(&lease.id).await.unwrap().checkpoints.len(), 5001);
    });
}

/// One script writes a bounded number of them.
#[test]
fn any_number_can_be_kept_in_one_batch() {
    run(async {
        let manager = manager(&server::client().await, "batch").await;
        let held = claimed(&manager, NewExecution::new("work")).await;
        let lease = held.token();
        let stale = Lease { epoch: lease.epoch + 1, ..lease };
        let mut writes: Vec<Write> = (0..1300).map(|number| keep(lease, &(number % 650).to_string(), number)).collect();
        writes.insert(600, keep(stale, "no", 1));
        let answers = manager.settle(writes).await.unwrap();
        assert!(answers.iter().enumerate().all(|(number, answer)| answer.is_ok() != (number == 600)));
        let found = manager.get(&lease.id).await.unwrap();
        assert_eq!((found.version, found.checkpoints.len()), (held.version + 1300, 650));
        assert!((0..650).all(|number| found.checkpoints[&number.to_string()] == number + 650));
    });
}

#[test]
fn checkpoints_are_no_more_than_can_be_read_again() {
    const LEN: usize = VALUE_LEN_BYTES_MAX / 4;
    run(async {
        // A server of its own: it takes up much of one.
        let server = servers::redis(Place::new(), &["--save", ""]);
        let client = server::ready(&server).await;
        let manager = manager(&client, "most").await;
        let lease = claimed(&manager, NewExecution::new("work")).await.token();
        // With its key and all quotation marks as many bytes as that.
        let settle = async |key: &str, len: usize| {
            manager.settle(vec![keep(lease, key, "x".repeat(len - key.len() - 4))]).await.map(|answers| answers.len())
        };
        for key in ["a", "b", "c", "a", "b"] {
            assert_eq!(settle(key, LEN).await.unwrap(), 1);
        }
        let before = manager.get(&lease.id).await.unwrap();
        let error = settle("d", LEN + 1).await.unwrap_err();
        assert_eq!(told(&error), ("TOO_LARGE", false, Written::Nothing));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "expected at most 67108864 bytes of checkpoints, found 67108865");
        assert_eq!(manager.get(&lease.id).await.unwrap(), before);
        assert_eq!(settle("d", LEN).await.unwrap(), 1);
        // What is written over does not count.
        assert_eq!(settle("a", LEN).await.unwrap(), 1);
        assert_eq!(settle("a", 100).await.unwrap(), 1);
        assert_eq!(settle("e", LEN - 100).await.unwrap(), 1);
        assert_eq!(settle("f", 10).await.unwrap_err().code(), "TOO_LARGE");
        // What cannot fit, whatever there is, is not even sent.
        let mut other = connection(&client).await;
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut other).await.unwrap();
        let alone = settle("f", VALUE_LEN_BYTES_MAX + 1).await.unwrap_err();
        assert_eq!(std::error::Error::source(&alone).unwrap().to_string(), source);
        let sent: usize = info(&mut other, "stats").await["total_net_input_bytes"].parse().unwrap();
        assert!(sent < 100_000, "{sent}");
        assert_eq!(manager.get(&lease.id).await.unwrap().checkpoints.len(), 5);
    });
}

/// It believes what it remembers of its claim, and learns from the script that it is no longer so.
#[test]
fn a_stale_worker_keeps_nothing() {
    run(async {
        let client = server::client().await;
        let (clock, slow) = with_clock(&client, "stale").await;
        let store = RedisStore::connect(client.clone(), "stale").await.unwrap().with_clock(clock.clone());
        let quick = ExecutionManager::new(store);
        let stale = claimed(&slow, NewExecution::new("work").max_attempts(3)).await.token();
        clock.advance(Duration::from_secs(31));
        assert_eq!(quick.tick().await.unwrap().retried, 1);
        let lease = quick.claim(claim(1)).await.unwrap().remove(0).token();
        quick.settle(vec![keep(lease, "row", "right")]).await.unwrap().remove(0).unwrap();
        let before = contents(&mut connection(&client).await, "stale").await;
        let answers = slow.settle(vec![keep(stale, "row", "wrong"), keep(stale, "another", 1)]).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Err(Refusal::LeaseLost { .. }))), "{answers:?}");
        assert_eq!(contents(&mut connection(&client).await, "stale").await, before);
    });
}

#[test]
fn checkpoints_that_are_gone_keep_nobody_from_the_others() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "gone").await;
        let mut other = connection(&client).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let lease = claimed(&manager, NewExecution::new("work").max_attempts(3)).await.token();
            manager.settle(vec![keep(lease, "row", 1)]).await.unwrap().remove(0).unwrap();
            ids.push(lease.id);
        }
        clock.advance(Duration::from_secs(31));
        assert_eq!(manager.tick().await.unwrap().retried, 3);
        let key = |id: ExecutionId| format!("tracer:{{gone}}:kept:{id:x}");
        redis::cmd("DEL").arg(key(ids[0])).exec_async(&mut other).await.unwrap();
        redis::cmd("SET").arg(key(ids[1])).arg("something else").exec_async(&mut other).await.unwrap();
        let claimed = manager.claim(claim(9)).await.unwrap();
        assert_eq!(claimed.iter().map(|execution| execution.id).collect::<Vec<_>>(), ids[2..]);
        for id in &ids[..2] {
            assert_eq!(told(&manager.get(id).await.unwrap_err()), ("CORRUPT", false, Written::Nothing));
            manager.delete(id).await.unwrap();
        }
    });
}

/// What it has kept goes to where version 2 had it: beside the rest, or, if that is too much, under a key.
async fn as_of_version_2(other: &mut MultiplexedConnection, namespace: &str, execution: &Execution) {
    let key = |name: &str| format!("tracer:{{{namespace}}}:{name}:{:x}", execution.id);
    let kept = serde_json::to_string(&execution.checkpoints).unwrap();
    let text: String = redis::cmd("GET").arg(key("execution")).query_async(other).await.unwrap();
    let (line, rest) = text.split_once('\n').unwrap();
    let is_outside = kept.len() > 4096;
    let line = line.replacen("kept,", if is_outside { "checkpoints," } else { "" }, 1);
    let here = if is_outside { "" } else { &kept };
    let text = format!("{line} {}\n{rest}{here}", kept.len());
    redis::cmd("SET").arg(key("execution")).arg(text).exec_async(other).await.unwrap();
    redis::cmd("DEL").arg(key("kept")).exec_async(other).await.unwrap();
    if is_outside {
        redis::cmd("SET").arg(key("checkpoints")).arg(kept).exec_async(other).await.unwrap();
    }
}

#[test]
fn what_version_2_kept_is_read_and_moved() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "old").await;
        let mut other = connection(&client).await;
        let empty = contents(&mut other, "old").await;
        let mut before = Vec::new();
        for (number, count) in [3, 1200, 3, 1200, 3, 1200].into_iter().enumerate() {
            let large = "x".repeat(if number == 1 { 5000 } else { 0 });
            let lease = claimed(&manager, NewExecution::new("work").max_attempts(3).payload(large)).await.token();
            let all = (0..count).map(|row| keep(lease, &format!("row \"{row}\""), row));
            manager.settle(all.collect()).await.unwrap();
            before.push(manager.get(&lease.id).await.unwrap());
        }
        // Two run, two wait, two were claimed, and not written since.
        for waits in &before[2..] {
            let failure = Failure::new("no").retryable(true);
            manager.under(&waits.token()).fail(&waits.id, failure).await.unwrap();
        }
        clock.advance(Duration::from_secs(10));
        let ids: Vec<ExecutionId> = before.iter().map(|execution| execution.id).collect();
        let get = async || {
            let mut found = BTreeMap::new();
            for id in &ids {
                found.insert(*id, manager.get(id).await.unwrap());
            }
            found
        };
        for execution in get().await.values() {
            as_of_version_2(&mut other, "old", execution).await;
        }
        let key = |name: &str| format!("tracer:{{old}}:{name}");
        redis::cmd("RENAME").arg(key("claimed")).arg(key("running")).exec_async(&mut other).await.unwrap();
        redis::cmd("SET").arg(key("version")).arg("2").exec_async(&mut other).await.unwrap();

        let store = RedisStore::connect(client.clone(), "old").await.unwrap().with_clock(clock.clone());
        let manager = ExecutionManager::new(store);
        // No script of version 2 gets past that.
        let looked: Result<u64, _> = redis::cmd("HLEN").arg(key("running")).query_async(&mut other).await;
        assert_eq!(looked.unwrap_err().code(), Some("WRONGTYPE"));
        let mut again = Vec::new();
        for id in &ids[2..4] {
            let lease = Duration::from_secs(30);
            again.extend(manager.claim_by_id(id, "worker", lease).await.unwrap());
        }
        let found = get().await;
        for execution in &before {
            assert_eq!(found[&execution.id].checkpoints, execution.checkpoints);
            assert_eq!(found[&execution.id].payload, execution.payload);
        }
        // By a checkpoint, by an end, by a start, by a heartbeat.
        for held in [&before[0], &before[1], &again[0], &again[1]] {
            let write = keep(held.token(), "row \"1\"", "one more");
            if held.id == ids[1] {
                manager.heartbeat(&[held.token()], Duration::from_secs(9)).await.unwrap();
            }
            manager.settle(vec![write]).await.unwrap().remove(0).unwrap();
            let now = manager.get(&held.id).await.unwrap();
            assert_eq!((now.version, now.payload), (found[&held.id].version + 1, held.payload.clone()));
            let mut expected = held.checkpoints.clone();
            expected.insert("row \"1\"".to_owned(), "one more".into());
            assert_eq!(now.checkpoints, expected);
        }
        for id in &ids[4..] {
            assert_eq!(manager.start(id).await.unwrap().checkpoints, found[id].checkpoints);
        }
        let keys = contents(&mut other, "old").await;
        assert!(!keys.keys().any(|key| key.contains(":checkpoints:")), "{:?}", keys.keys());
        assert_eq!(keys.keys().filter(|key| key.contains(":kept:")).count(), 6);
        clock.advance(Duration::from_secs(60));
        manager.tick().await.unwrap();
        for id in &ids {
            let _ = manager.cancel(id, None::<&str>).await;
            manager.delete(id).await.unwrap();
        }
        let left = contents(&mut other, "old").await;
        assert_eq!(
            left.keys().filter(|name| **name != key("running")).collect::<Vec<_>>(),
            empty.keys().collect::<Vec<_>>()
        );
    });
}

/// What nobody has written to since is found by a sweep, which moves it before it ends the attempt.
#[test]
fn a_sweep_moves_what_version_2_kept() {
    run(async {
        let client = server::client().await;
        let (clock, manager) = with_clock(&client, "lost").await;
        let mut other = connection(&client).await;
        let lease = claimed(&manager, NewExecution::new("work")).await.token();
        let all = (0..1200).map(|row| keep(lease, &row.to_string(), row));
        manager.settle(all.collect()).await.unwrap();
        let before = manager.get(&lease.id).await.unwrap();
        as_of_version_2(&mut other, "lost", &before).await;
        clock.advance(Duration::from_secs(31));
        assert_eq!(manager.tick().await.unwrap().failed, 1);
        let swept = manager.get(&lease.id).await.unwrap();
        assert_eq!((swept.version, swept.checkpoints), (before.version + 1, before.checkpoints));
        let names = contents(&mut other, "lost").await.into_keys().collect::<Vec<_>>();
        assert!(
            names.iter().any(|name| name.contains(":kept:"))
                && !names.iter().any(|name| name.contains(":checkpoints:"))
        );
    });
}

/// A connection on which something is done before the first command with an argument is sent.
#[derive(Clone)]
struct Before {
    connection: MultiplexedConnection,
    argument: &'static str,
    act: Arc<Mutex<Option<Act>>>,
}

type Act = Pin<Box<dyn Future<Output = ()> + Send>>;

impl ConnectionLike for Before {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, redis::Value> {
        let is_it = |argument: Arg<&[u8]>| matches!(argument, Arg::Simple(found) if found == self.argument.as_bytes());
        let act = self.act.lock().unwrap().take_if(|_| command.args_iter().any(is_it));
        Box::pin(async move {
            if let Some(act) = act {
                act.await;
            }
            self.connection.req_packed_command(command).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<redis::Value>> {
        self.connection.req_packed_commands(commands, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// Each copies what it has read. Whoever is late must not write over what somebody has kept since.
#[test]
fn of_two_who_move_at_once_the_later_one_undoes_nothing() {
    run(async {
        let client = server::client().await;
        let manager = manager(&client, "once").await;
        let lease = claimed(&manager, NewExecution::new("work")).await.token();
        let all = (0..1200).map(|row| keep(lease, &format!("row {row:04}"), "old"));
        manager.settle(all.collect()).await.unwrap();
        let mut other = connection(&client).await;
        as_of_version_2(&mut other, "once", &manager.get(&lease.id).await.unwrap()).await;

        let act: Act = Box::pin(async move {
            manager.settle(vec![keep(lease, "row 1199", "new")]).await.unwrap().remove(0).unwrap();
        });
        let act = Arc::new(Mutex::new(Some(act)));
        let slow = Before { connection: other, argument: "\"row 1199\"", act: act.clone() };
        let slow = ExecutionManager::new(RedisStore::with_connection(slow, "once").await.unwrap());
        slow.settle(vec![keep(lease, "another", "new")]).await.unwrap().remove(0).unwrap();
        assert!(act.lock().unwrap().is_none(), "the last that it moves was not sent");
        let kept = slow.get(&lease.id).await.unwrap().checkpoints;
        let new = kept.iter().filter(|(_, value)| **value == "new").map(|(key, _)| key.as_str());
        assert_eq!(new.collect::<Vec<_>>(), ["another", "row 1199"]);
        assert_eq!(kept.len(), 1201);
    });
}
