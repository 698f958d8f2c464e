//! `tracer exec` on files that `tracer-sqlite` has written, and on databases.

use std::net::TcpListener;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use tracer::execution::{
    Claim, Execution, ExecutionId, ExecutionManager, ExecutionStatus, ExecutionStore, Failure, NewExecution, Progress,
    RetryPolicy, Timestamp,
};
use tracer::{ManualClock, SystemClock};
use tracer_mysql::MysqlStore;
use tracer_postgres::PostgresStore;
use tracer_redis::RedisStore;
use tracer_sqlite::{Options, SqliteStore};
use tracer_store_conformance::server::{self, Place, Server};

use crate::world::World;

/// A file in which it is 2026-01-02T03:04:05Z.
struct File {
    world: World,
    manager: ExecutionManager<SqliteStore>,
    clock: ManualClock,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

impl File {
    fn new() -> Self {
        let world = World::new();
        let clock = ManualClock::new(Duration::from_nanos(crate::world::BEGIN_NS));
        let store = Options::new().clock(clock.clone()).open(world.path(".tracer/executions.db")).unwrap();
        Self { world, manager: ExecutionManager::new(store), clock }
    }

    fn create(&self, new: NewExecution) -> ExecutionId {
        wait(self.manager.create(new)).unwrap().id
    }

    fn claim(&self, id: &ExecutionId) -> Execution {
        wait(self.manager.claim_by_id(id, "worker-1", Duration::from_secs(30))).unwrap().unwrap()
    }

    fn get(&self, id: &ExecutionId) -> Execution {
        wait(self.manager.get(id)).unwrap()
    }

    /// One that has failed twice, and waits.
    fn retrying(&self) -> ExecutionId {
        let policy = RetryPolicy::new(Duration::from_secs(90), Duration::from_secs(900)).without_jitter();
        let new = NewExecution::new("import").payload(json!({ "file": "a.csv" })).max_attempts(3).retry(policy);
        let id = self.create(new.idempotency_key("a.csv"));
        for _ in 0..2 {
            let held = self.claim(&id);
            let under = self.manager.under(&held.token());
            wait(under.checkpoint(&id, "row", 60)).unwrap();
            wait(under.update_progress(&id, Progress::new(6, 10).message("rows"))).unwrap();
            self.clock.advance(Duration::from_secs(5));
            wait(under.fail(&id, Failure::new("disk \u{1b}[31mfull").code("ENOSPC").retryable(true))).unwrap();
            self.clock.advance(Duration::from_secs(100));
        }
        id
    }

    fn dead(&self) -> ExecutionId {
        let id = self.create(NewExecution::new("charge"));
        let held = self.claim(&id);
        wait(self.manager.under(&held.token()).fail(&id, Failure::new("declined"))).unwrap();
        id
    }
}

#[test]
fn what_there_is_is_listed_and_shown() {
    let file = File::new();
    let (retrying, dead) = (file.retrying(), file.dead());
    let listed = file.world.run("exec ls");
    assert_eq!(listed.code, 0, "{}", listed.text());
    let lines: Vec<&str> = listed.out.lines().collect();
    assert!(lines[0].contains("failed     charge    1/1  declined"), "{lines:?}");
    assert!(
        lines[1].contains("retrying   import    2/3  ██████░░░░ 60 % (6 of 10) rows  ENOSPC: disk \\u{1b}[31mfull"),
        "{lines:?}"
    );
    for (options, count) in [("--dead", 1), ("--status retrying", 1), ("--type charge --type import", 2), ("-n 1", 1)] {
        assert_eq!(file.world.run(&format!("exec ls {options}")).out.lines().count(), count, "{options}");
    }
    assert_eq!(file.world.run("exec ls --type other").code, 1);
    let json: Value = serde_json::from_str(file.world.run("exec ls --json").out.lines().next().unwrap()).unwrap();
    assert_eq!((&json["id"], &json["status"]), (&json!(format!("{dead:x}")), &json!("failed")));

    let shown = file.world.run(&format!("exec show {retrying}")).out;
    for expected in [
        &*format!("{retrying}  import  retrying"),
        "  key         a.csv",
        "  attempts    2 of 3",
        "  next run    2026-01-02T03:08:55Z: it is due",
        "  progress    ██████████████████░░░░░░░░░░░░ 60 % (6 of 10) rows",
        r#"  payload     {"file":"a.csv"}"#,
        "  ✗ attempt 1  2026-01-02T03:04:05Z  5s  failed  by worker-1  ENOSPC: disk \\u{1b}[31mfull",
        "    ┊ 1m 40s later",
        "  ✗ attempt 2  2026-01-02T03:05:50Z  5s  failed",
        "  checkpoints: 1",
        "    row = 60",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }
    let trace = file.get(&retrying).history[0].trace_id;
    assert!(shown.contains(&format!("      trace {trace}")), "{shown}");
}

#[test]
fn what_is_reserved_waits_for_its_turn() {
    let file = File::new();
    let id = file.create(NewExecution::new("work"));
    let (types, worker, lease) = (Vec::new(), "worker-1".to_owned(), Duration::from_secs(30));
    wait(file.manager.reserve(Claim { types, only: Some(id), limit: 1, worker, lease })).unwrap();
    let shown = file.world.run(&format!("exec show {id}")).out;
    assert!(shown.contains("  attempts    0 of 1\n"), "{shown}");
    assert!(
        shown.contains("  held by     worker-1 until ") && shown.contains(", where it waits for its turn"),
        "{shown}"
    );
    let listed = file.world.run("exec ls").out;
    assert!(listed.contains("running    work    0/1  waits for its turn in a worker"), "{listed}");
}

#[test]
fn an_execution_is_named_by_the_beginning_of_its_id() {
    let file = File::new();
    let ids = [file.dead(), file.retrying()];
    let shown = |wanted: &str| file.world.run(&format!("exec show {wanted}"));
    assert!(shown("last").out.starts_with(&ids[1].to_string()));
    assert!(shown("last-failed").out.starts_with(&ids[0].to_string()));
    let digits = format!("{:x}", ids[0]);
    let unique = (1..=32).find(|len| !format!("{:x}", ids[1]).starts_with(&digits[..*len])).unwrap();
    assert!(shown(&digits[..unique]).out.starts_with(&ids[0].to_string()));
    let ambiguous = shown(&digits[..4]);
    assert_eq!((ambiguous.code, &*ambiguous.out), (2, ""));
    assert!(ids.iter().all(|id| ambiguous.err.contains(&id.to_string())), "{}", ambiguous.err);
    assert_eq!(shown("ffffff").code, 1);
    assert_eq!(shown("nothing").code, 2);
}

#[test]
fn what_changes_anything_is_asked_for_first() {
    let file = File::new();
    let (dead, waiting) = (file.dead(), file.create(NewExecution::new("other")));
    let before = file.get(&dead);
    for verb in ["redrive last-failed", "retry last-failed", "redrive --all", "cancel last", "delete last-failed"] {
        let ran = file.world.run(&format!("exec {verb}"));
        assert_eq!((ran.code, &*ran.out), (2, ""), "{verb}");
        assert!(ran.err.contains("--yes"), "{verb}: {}", ran.err);
    }
    assert_eq!(file.get(&dead), before);
    assert_eq!(file.world.run("exec cancel").code, 2, "none is named");

    let refused = file.world.run("exec retry last-failed --yes");
    assert_eq!((refused.code, &*refused.out), (1, ""));
    assert!(refused.err.contains("MAX_RETRIES_EXCEEDED") && refused.err.contains("redrive"), "{}", refused.err);
    let driven = file.world.run("exec redrive last-failed --yes");
    assert_eq!((driven.code, &*driven.out), (0, &*format!("{dead}  charge  retrying\n")));
    let held = file.claim(&dead);
    assert_eq!((held.attempts, held.epoch, held.redrives), (1, 2, 1));
    let asked = file.world.run(&format!("exec cancel {dead} --yes --reason enough"));
    assert!(asked.out.ends_with("running, its worker is asked to stop\n"), "{}", asked.text());
    let cancelled = file.world.run("exec cancel last --yes --json").out;
    assert_eq!(serde_json::from_str::<Execution>(&cancelled).unwrap(), file.get(&waiting));
    assert_eq!(file.get(&waiting).status, ExecutionStatus::Cancelled);
    assert_eq!(file.world.run("exec cancel last --yes").code, 1, "it is over");
    for _ in 0..3 {
        file.dead();
    }
    assert_eq!(file.world.run("exec redrive --all --type charge --yes").out.lines().count(), 3);
    assert_eq!(file.world.run("exec redrive --all --yes").code, 1, "there are none left");
    let both = file.world.run("exec redrive last-failed --type charge --yes");
    assert!(both.code == 2 && both.err.contains("--type"), "{}", both.text());
}

#[test]
fn redriving_all_goes_on_past_those_that_cannot_be() {
    let file = File::new();
    let dead = [file.dead(), file.dead(), file.dead(), file.dead()];
    // As if somebody else deleted two of them once the first is driven anew.
    let other = rusqlite::Connection::open(file.world.path(".tracer/executions.db")).unwrap();
    let trigger = "CREATE TRIGGER meanwhile AFTER UPDATE ON executions WHEN NEW.seq = 1
        BEGIN DELETE FROM executions WHERE seq IN (2, 3); END";
    other.execute_batch(trigger).unwrap();
    let ran = file.world.run("exec redrive --all --yes");
    assert_eq!(ran.code, 1, "{}", ran.text());
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines, [0, 3].map(|number: usize| format!("{}  charge  retrying", dead[number])));
    assert!(ran.err.contains("NOT_FOUND") && ran.err.contains("2 dead letters of 4"), "{}", ran.err);
}

#[test]
fn one_that_does_not_run_is_deleted() {
    let file = File::new();
    let (dead, held) = (file.dead(), file.create(NewExecution::new("other").idempotency_key("once")));
    file.claim(&held);
    let refused = file.world.run("exec delete last --yes");
    assert_eq!((refused.code, &*refused.out), (1, ""));
    assert!(refused.err.contains("INVALID_STATE_TRANSITION"), "{}", refused.err);
    let deleted = file.world.run("exec delete last-failed --yes");
    assert_eq!((deleted.code, &*deleted.out), (0, &*format!("deleted {dead} (charge, failed)\n")));
    let is_left = |id: &ExecutionId| wait(file.manager.store().find_by_id(id)).unwrap().is_some();
    assert!(!is_left(&dead) && is_left(&held));
    assert_eq!(file.world.run(&format!("exec delete {dead} --yes")).code, 1, "it is gone");
    let waiting = file.create(NewExecution::new("other"));
    assert_eq!(file.world.run(&format!("exec delete {waiting} --yes --json")).out, "{\"deleted\":1}\n");
    assert!(!is_left(&waiting));
}

#[test]
fn one_that_cannot_be_read_is_told_beside_the_others_and_can_be_deleted() {
    let file = File::new();
    let (spoiled, other) = (file.create(NewExecution::new("spoiled")), file.create(NewExecution::new("other")));
    let database = rusqlite::Connection::open(file.world.path(".tracer/executions.db")).unwrap();
    database.execute("UPDATE executions SET body = '{' WHERE type = 'spoiled'", ()).unwrap();
    for verb in ["exec ls", "exec ls --json"] {
        let listed = file.world.run(verb);
        assert_eq!((listed.code, listed.out.lines().count()), (3, 1), "{}", listed.out);
        let told = format!("note: 1 execution cannot be read: {spoiled}; `tracer exec show ID` says why\n");
        assert_eq!(listed.err, told);
    }
    let shared = format!("{spoiled:x}").bytes().zip(format!("{other:x}").bytes()).take_while(|(a, b)| a == b).count();
    let begin = |id: &ExecutionId, more: usize| format!("{id:x}")[..shared + more].to_owned();
    let ambiguous = file.world.run(&format!("exec show {}", begin(&spoiled, 0)));
    assert_eq!(ambiguous.code, 2);
    for candidate in [format!("  {spoiled}  cannot be read"), format!("  {other}  pending  other")] {
        assert!(ambiguous.err.contains(&candidate), "{}", ambiguous.err);
    }
    for one in [begin(&spoiled, 1), spoiled.to_string()] {
        let shown = file.world.run(&format!("exec show {one}"));
        assert_eq!((shown.code, &*shown.out), (3, ""));
        assert!(shown.err.contains(&spoiled.to_string()), "{}", shown.err);
        assert!(shown.err.contains("  help: `tracer exec delete ID`"), "{}", shown.err);
    }
    assert_eq!(file.world.run("exec show last").out, file.world.run(&format!("exec show {other}")).out);
    assert_eq!(file.world.run(&format!("exec delete {other} --yes")).code, 0, "it is in nobody's way");
    assert_eq!(file.world.run("exec show last").code, 3, "the last is one that cannot be read");
    let left = file.world.run("exec ls");
    assert_eq!((left.code, &*left.out), (3, ""));
    let dead = file.dead();
    database.execute("UPDATE executions SET body = '{' WHERE status = 'failed'", ()).unwrap();
    let redriven = file.world.run("exec redrive --all --yes");
    assert_eq!((redriven.code, &*redriven.out), (3, ""));
    assert!(redriven.err.contains(&dead.to_string()), "{}", redriven.err);
    assert_eq!(file.world.run(&format!("exec delete {dead} --yes")).code, 0);
    let spoiled_begin = begin(&spoiled, 1);
    let deleted = file.world.run(&format!("exec delete {spoiled_begin} --yes"));
    assert_eq!((deleted.code, &*deleted.out), (0, &*format!("deleted {spoiled}, which cannot be read\n")));
    assert_eq!(file.world.run("exec ls").code, 1, "there are none");
}

#[test]
fn what_ended_long_ago_is_pruned() {
    let file = File::new();
    let (dead, waiting) = (file.dead(), file.create(NewExecution::new("other")));
    for _ in 0..3 {
        let id = file.create(NewExecution::new("done"));
        wait(file.manager.cancel(&id, None)).unwrap();
    }
    file.clock.advance(Duration::from_secs(3600));
    let young = file.create(NewExecution::new("done"));
    wait(file.manager.cancel(&young, None)).unwrap();
    let asked = file.world.run("exec prune --older-than 30m");
    assert_eq!((asked.code, &*asked.out), (2, ""));
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    for (dead, which) in [("", "all completed and cancelled executions"), ("--dead", "all executions")] {
        let asked = file.world.run(&format!("exec prune --older-than 90m {dead}")).err;
        assert!(asked.contains(&format!("delete {which} that ended longer than 1h 30m ago")), "{asked}");
    }
    for wrong in ["", "--older-than soon", "--older-than 30"] {
        assert_eq!(file.world.run(&format!("exec prune --yes {wrong}")).code, 2, "{wrong}");
    }
    assert_eq!(file.world.run("exec prune --older-than 9999days --yes").out, "deleted 0 executions\n");
    assert_eq!(file.world.run("exec prune --older-than 1s --yes").out, "deleted 4 executions\n");
    let left = |id: &ExecutionId| wait(file.manager.store().find_by_id(id)).unwrap().is_some();
    assert!(left(&dead) && left(&waiting) && !left(&young));
    let json = file.world.run("exec prune --older-than 1s --dead --yes --json").out;
    assert_eq!(json, "{\"deleted\":1,\"unreadable\":0}\n");
    assert!(!left(&dead) && left(&waiting));
}

#[test]
fn what_cannot_be_read_is_told_and_stays_when_others_are_pruned() {
    let file = File::new();
    let ids = [0, 1, 2].map(|_| file.create(NewExecution::new("done")));
    for id in &ids {
        wait(file.manager.cancel(id, None)).unwrap();
    }
    let other = rusqlite::Connection::open(file.world.path(".tracer/executions.db")).unwrap();
    other.execute("UPDATE executions SET body = '{' WHERE seq = 2", []).unwrap();
    let ran = file.world.run("exec prune --older-than 1s --yes");
    assert_eq!((ran.code, &*ran.out), (0, "deleted 2 executions\n"));
    assert!(ran.err.contains("1 execution could not be read, and stayed"), "{}", ran.err);
    let json = file.world.run("exec prune --older-than 1s --yes --json");
    assert_eq!((&*json.out, &*json.err), ("{\"deleted\":0,\"unreadable\":1}\n", ""));
    assert_eq!(file.world.run(&format!("exec show {}", ids[1])).code, 3);
}

#[test]
fn a_lease_that_is_over_is_told() {
    let file = File::new();
    let id = file.create(NewExecution::new("work"));
    file.claim(&id);
    // Its clock is that of the test, which is behind that of the program.
    for verb in ["ls", "show"] {
        let shown = file.world.run(&format!("exec {verb}")).out;
        assert!(shown.contains("lease over since "), "{verb}: {shown}");
    }
    let day = Duration::from_secs(24 * 3600);
    wait(file.manager.heartbeat(&[file.get(&id).token()], day * 36_500)).unwrap();
    for verb in ["ls", "show"] {
        let shown = file.world.run(&format!("exec {verb}")).out;
        assert!(shown.contains("work") && !shown.contains("lease over"), "{verb}: {shown}");
    }
}

#[test]
fn whether_a_lease_is_over_is_the_stores_to_say() {
    let file = File::new();
    let id = file.create(NewExecution::new("work"));
    let until = file.claim(&id).lease.unwrap().until;
    let now = Timestamp::now(&SystemClock);
    let (half_an_hour, hour) = (Duration::from_secs(1800), Duration::from_secs(3600));
    wait(file.manager.heartbeat(&[file.get(&id).token()], now.since(until) + half_an_hour + hour)).unwrap();
    let is_over = |verb: &str| file.world.run(&format!("exec {verb}")).out.contains("lease over since ");
    assert!(!is_over("ls") && !is_over("show last"));
    // As where the database is two hours ahead of this machine.
    let database = rusqlite::Connection::open(file.world.path(".tracer/executions.db")).unwrap();
    let ahead = i64::try_from(now.after(2 * hour).unix_ms()).unwrap();
    assert_eq!(database.execute("UPDATE clock SET latest_ms = ?1", [ahead]).unwrap(), 1);
    assert!(is_over("ls") && is_over("show last"));
}

#[test]
fn a_list_has_a_length() {
    let file = File::new();
    let ids: Vec<_> = (0..2001).map(|_| file.manager.prepare(NewExecution::new("work")).unwrap()).collect();
    wait(file.manager.store().create(ids)).unwrap();
    for (count, len) in [("1", 1), ("1000", 1000), ("1001", 1001), ("2000", 2000), ("2001", 2001), ("4000000000", 2001)]
    {
        let ran = file.world.run(&format!("exec ls -n {count}"));
        let mut lines: Vec<_> = ran.out.lines().collect();
        assert_eq!((ran.code, lines.len()), (0, len), "{count}");
        assert_eq!(ran.err.contains(&format!("`-n` shows more than {count}")), len < 2001, "{}", ran.err);
        lines.dedup();
        assert_eq!(lines.len(), len, "each once");
    }
    for count in ["0", "-1", "many"] {
        assert_eq!(file.world.run(&format!("exec ls -n {count}")).code, 2, "{count}");
    }
}

/// To read is to write beside it, too.
#[test]
fn a_file_beside_which_nothing_can_be_written_is_told_apart_from_those_of_others() {
    let File { world, manager, .. } = File::new();
    drop(manager);
    std::fs::create_dir(world.path(".tracer/executions.db-wal")).unwrap();
    let ran = world.run("exec ls");
    assert_eq!(ran.code, 3, "{}", ran.text());
    assert!(ran.err.contains("may you write to it, and to its directory?"), "{}", ran.err);
    world.write("other.db", "no database, and long enough to be looked at as one");
    let other = world.run("exec ls --store other.db").err;
    assert!(other.contains("is it a file that `tracer-sqlite` has written"), "{other}");
}

#[test]
fn files_that_are_none_are_told_apart_from_empty_ones() {
    let world = World::new();
    let missing = world.run("exec ls");
    assert_eq!((missing.code, world.path(".tracer/executions.db").exists()), (1, false), "{}", missing.text());
    assert!(missing.err.contains("--store"), "{}", missing.err);
    world.write("other.db", "no database, and long enough to be looked at as one");
    assert_eq!(world.run("exec ls --store other.db").code, 3);
    let file = File::new();
    assert_eq!(file.world.run("exec ls").code, 1);
    let named = file.world.command("exec ls").env("TRACER_EXECUTIONS", "elsewhere.db").output().unwrap();
    assert_eq!(named.status.code(), Some(1));
    assert!(String::from_utf8(named.stderr).unwrap().contains("elsewhere.db"));
}

/// Until it answers: how long that takes depends on the machine alone.
pub(crate) async fn ready<T, E>(server: &Server, mut connect: impl AsyncFnMut() -> Result<T, E>) -> T {
    loop {
        match connect().await {
            Ok(connected) => return connected,
            Err(_) => server.must_run(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is there is looked after, what is not is not made, and a server that is not there is said to be.
async fn is_looked_after<S: ExecutionStore>(url: &str, nobody: &str, store: impl AsyncFnOnce() -> S) {
    let world = World::new();
    let run = |verb: &str| world.run(&format!("exec {verb} --store {url}"));
    let missing = run("ls");
    assert_eq!(missing.code, 1, "{}", missing.text());
    assert!(missing.err.contains("expected"), "{}", missing.err);
    assert_eq!(run("ls").code, 1, "it was not made");
    let created = ExecutionManager::new(store().await).create(NewExecution::new("charge").payload(1)).await.unwrap();
    let listed = run("ls");
    assert!(listed.code == 0 && listed.out.contains("charge"), "{}", listed.text());
    let cancelled: Value = serde_json::from_str(&run("cancel last --yes --json").out).unwrap();
    assert_eq!((&cancelled["id"], &cancelled["status"]), (&format!("{:x}", created.id).into(), &"cancelled".into()));
    assert_eq!(run("cancel last --yes").code, 1, "it is over");
    let nobody = world.run(&format!("exec ls --store {nobody}"));
    assert!(nobody.code == 3 && nobody.err.contains("does a server answer there"), "{}", nobody.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn executions_in_postgresql_are_looked_after_too() {
    let server = server::postgres(Place::new(), &["-c", "fsync=off"]);
    let url = format!("postgresql://postgres@localhost/postgres?host={}", server.path().display());
    let config: tokio_postgres::Config = url.parse().unwrap();
    drop(ready(&server, || config.connect(NoTls)).await);
    let nobody = "postgres://postgres@localhost/postgres?host=/nowhere";
    is_looked_after(&url, nobody, async || PostgresStore::connect(config.clone(), NoTls).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn executions_in_mysql_are_looked_after_too() {
    let server = server::mariadb(Place::new(), &["--innodb-flush-log-at-trx-commit=0"]);
    let socket = server.path().join("mysql.sock").display().to_string();
    let opts = OptsBuilder::default().user(Some("root")).socket(Some(&socket));
    ready(&server, || Conn::new(opts.clone())).await.query_drop("CREATE DATABASE jobs").await.unwrap();
    let url = format!("mysql://root@localhost/jobs?socket={}", socket.replace('/', "%2F"));
    let nobody = "mysql://root@localhost/jobs?socket=/nowhere";
    is_looked_after(&url, nobody, async || MysqlStore::connect(opts.db_name(Some("jobs"))).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn executions_in_redis_are_looked_after_too() {
    let server = server::redis(Place::new(), &["--save", ""]);
    let socket = format!("redis+unix://{}", server.path().join("redis.sock").display());
    let client = redis::Client::open(&*socket).unwrap();
    drop(ready(&server, || client.get_multiplexed_async_connection()).await);
    let unnamed = World::new().run(&format!("exec ls --store {socket}"));
    assert!(unnamed.code == 2 && unnamed.err.contains("#NAMESPACE"), "{}", unnamed.text());
    let url = format!("{socket}#jobs");
    let nobody = "redis+unix:///nowhere#jobs";
    is_looked_after(&url, nobody, async || RedisStore::connect(client.clone(), "jobs").await.unwrap()).await;
}

/// It takes connections, and says nothing.
#[test]
fn a_server_that_gives_no_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        for url in ["postgres://me@127.0.0.1", "mysql://me@127.0.0.1", "redis://127.0.0.1"] {
            let (path, world) = (if url.starts_with("redis") { "0#jobs" } else { "jobs" }, World::new());
            scope.spawn(move || {
                let ran = world.run(&format!("exec ls --store {url}:{port}/{path}"));
                assert_eq!((ran.code, &*ran.out), (3, ""), "{}", ran.text());
                assert!(ran.err.contains("does a server answer there"), "{}", ran.text());
            });
        }
    });
}

#[test]
fn what_names_no_database_is_no_server_that_is_away() {
    for url in
        ["postgres://", "postgres://me@host:port/jobs", "mysql://", "mysql://me@host:port/jobs", "redis://:#jobs"]
    {
        let ran = World::new().run(&format!("exec ls --store {url}"));
        assert_eq!((ran.code, &*ran.out), (2, ""), "{}", ran.text());
        assert!(ran.err.contains("expected the URL of a database"), "{}", ran.text());
    }
}

#[test]
fn another_kind_of_url_is_not_taken_for_a_file_and_its_password_not_told() {
    let ran = World::new().run("exec ls --store postgress://me:hidden@localhost/jobs");
    assert_eq!(ran.code, 2, "{}", ran.text());
    assert!(ran.err.contains("found one of `postgress`") && !ran.err.contains("hidden"), "{}", ran.text());
}
