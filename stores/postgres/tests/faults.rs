//! Servers that do not answer, answer late, or would not take what is sent: what is told of it, and that it is told in time.

mod run;
mod server;

use std::time::Duration;

use deadpool_postgres::{Manager, Pool};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};
use tracer::SystemClock;
use tracer::execution::{
    Claim, Command, ExecutionManager, ExecutionStatus, ExecutionStore, NewExecution, Progress, StoreError, Write,
    Written,
};
use tracer_postgres::PostgresStore;
use tracer_store_conformance::{Proxy, Target, Weather};

use run::run;

async fn client(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The server, behind a network that may fail.
async fn through(config: &Config) -> (Proxy, Config) {
    let Some(Host::Unix(directory)) = config.get_hosts().first() else { panic!("the server listens at a socket only") };
    let socket = directory.join(format!(".s.PGSQL.{}", config.get_ports()[0]));
    let proxy = Proxy::to(Target::Socket(socket)).await.unwrap();
    let mut through = Config::new();
    through.host("127.0.0.1").port(proxy.port()).user("postgres").dbname("postgres");
    through.options(config.get_options().unwrap());
    (proxy, through)
}

/// What an error says to who has to decide what to do next, and why.
fn told(error: &StoreError) -> (&'static str, bool, Written, String) {
    (error.code(), error.is_retryable(), error.written, error.source.to_string())
}

fn no_answer(written: Written) -> (&'static str, bool, Written, String) {
    ("STORE", true, written, "no answer came in time".to_owned())
}

/// Commits of transactions that have written to this table do not end before [`LOCK`] is free.
async fn stall_commits(client: &Client, table: &str) {
    let stall = format!(
        "CREATE FUNCTION stall_{table}() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock({LOCK}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER stall AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION stall_{table}()"
    );
    client.batch_execute(&stall).await.unwrap();
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.unwrap();
}

/// Nobody else in the database takes this one.
const LOCK: i64 = 4242;

/// Gives [`LOCK`] free, and waits until those who waited for it are done: it is had in turn.
async fn go_on(client: &Client) {
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.unwrap();
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.unwrap();
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.unwrap();
}

/// Long enough for answers that do come, on a busy machine.
const SHORT: Duration = Duration::from_secs(2);

/// A network that lets nothing through, and says nothing: each call ends in time, and later ones have other connections.
#[test]
fn a_server_that_falls_silent_is_an_error_that_says_what_was_written() {
    run(async {
        let (proxy, through) = through(&server::config("silent").await).await;
        let store = PostgresStore::connect(through, NoTls).await.unwrap();
        let manager = ExecutionManager::new(store.clone());
        // Where no answer will come. One that will may take long on a busy machine.
        let hasty = ExecutionManager::new(store.with_patience(Duration::from_millis(500)));
        let create = manager.prepare(NewExecution::new("work").payload(1)).unwrap();
        proxy.weather(Weather::Silent);
        // On a connection that was there, and on one that is not to be had.
        for _ in 0..2 {
            let create = hasty.store().create(vec![create.clone()]);
            let error = tokio::time::timeout(Duration::from_secs(5), create).await.unwrap().unwrap_err();
            assert_eq!((error.code(), error.is_retryable(), error.written), ("STORE", true, Written::Nothing));
            assert_eq!(error.source.to_string(), "no answer came in time");
        }
        assert!(proxy.cut() >= 1);
        proxy.weather(Weather::Fine);
        assert_eq!(manager.get(&create.id()).await.unwrap_err().code(), "NOT_FOUND");
        proxy.weather(Weather::Silent);
        let error = tokio::time::timeout(Duration::from_secs(5), hasty.get(&create.id())).await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written()), ("STORE", true, Written::Nothing));
        proxy.weather(Weather::Fine);
        manager.store().create(vec![create.clone()]).await.unwrap();
        assert_eq!(manager.get(&create.id()).await.unwrap().status, ExecutionStatus::Pending);
    });
}

/// The server is at the commit when patience ends: it happens all the same.
#[test]
fn a_commit_that_is_not_answered_in_time_may_have_happened() {
    run(async {
        let config = server::config("slow_commit").await;
        let store = PostgresStore::connect(config.clone(), NoTls).await.unwrap();
        let manager = ExecutionManager::new(store.clone());
        let hasty = store.with_patience(SHORT);
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        manager.start(&id).await.unwrap();
        let client = client(&config).await;
        stall_commits(&client, "tracer_executions").await;
        let progress = || Write::new(id, Command::Progress(Progress::new(1, 2)));
        let error = hasty.update(vec![progress()]).await.unwrap_err();
        assert_eq!(told(&error), no_answer(Written::Unknown));
        // A transaction that is not there yet when patience ends is another matter: its row is still locked.
        let error = hasty.update(vec![progress()]).await.unwrap_err();
        assert_eq!(told(&error), no_answer(Written::Nothing));
        assert_eq!(manager.get(&id).await.unwrap().version, 2);
        go_on(&client).await;
        let found = manager.get(&id).await.unwrap();
        assert_eq!((found.version, found.progress.map(|progress| progress.current)), (3, Some(1)));
    });
}

/// A statement that is a transaction of its own arrives, and the answer does not.
#[test]
fn a_statement_whose_answer_never_comes_may_have_been_done() {
    run(async {
        let config = server::config("kept").await;
        let (proxy, through) = through(&config).await;
        // With a clock of its own it does not ask for the time first.
        let store = PostgresStore::connect(through, NoTls).await.unwrap().with_clock(SystemClock);
        let manager = ExecutionManager::new(store.clone().with_patience(SHORT));
        let create = |payload: u32| manager.prepare(NewExecution::new("work").payload(payload)).unwrap();
        // The hint has been given, and the statement prepared.
        manager.store().create(vec![create(0)]).await.unwrap();
        for (weather, arrives) in [(Weather::AnswersKept, true), (Weather::Silent, false)] {
            let create = create(1);
            proxy.weather(weather);
            let error = manager.store().create(vec![create.clone()]).await.unwrap_err();
            assert_eq!(told(&error), no_answer(Written::Unknown));
            proxy.weather(Weather::Fine);
            let found = manager.store().find_by_id(&create.id()).await.unwrap();
            assert_eq!(found.is_some(), arrives, "{weather:?}");
            // Either way it may be repeated.
            let created = manager.store().create(vec![create.clone()]).await.unwrap().remove(0).into_execution();
            assert_eq!((created.id, created.version), (create.id(), 1));
        }
        assert_eq!(proxy.cut(), 2);
    });
}

/// With the pool of somebody else, too: who holds the lock of migrations may have died, and a server may fall silent.
#[test]
fn tables_are_made_or_given_up_in_time() {
    run(async {
        let config = server::config("migration").await;
        let other = client(&config).await;
        let pool = |config: Config| Pool::builder(Manager::new(config, NoTls)).max_size(2).build().unwrap();
        let in_time = async |pool: &Pool| {
            let error = tokio::time::timeout(Duration::from_secs(20), PostgresStore::with_pool(pool.clone())).await;
            let error = error.expect("it gives up").unwrap_err();
            (error.operation, told(&error))
        };
        let mine = pool(config.clone());
        other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(x'747261636572'::bigint)").await.unwrap();
        assert_eq!(in_time(&mine).await, ("prepare the tables", no_answer(Written::Nothing)));
        // A connection that still waits is nobody's any more.
        assert_eq!(mine.status().size, 0);
        other.batch_execute("COMMIT").await.unwrap();
        PostgresStore::with_pool(mine.clone()).await.unwrap();
        stall_commits(&other, "tracer_schema").await;
        assert_eq!(in_time(&mine).await, ("prepare the tables", no_answer(Written::Unknown)));
        go_on(&other).await;
        PostgresStore::with_pool(mine).await.unwrap();
    });
}

/// The server closes a connection that brings 1 GiB at once, and says nothing of it.
#[test]
fn batches_of_more_than_a_gigabyte_are_refused_and_the_limit_is_named() {
    run(async {
        let config = server::config("large").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config.clone(), NoTls).await.unwrap());
        // Two of these are just too much: each character is six bytes of JSON.
        let large = "\u{1}".repeat(87_500_000);
        let two = (0..2).map(|_| manager.prepare(NewExecution::new("work").payload(&large)).unwrap()).collect();
        let (code, is_retryable, written, why) = told(&manager.store().create(two).await.unwrap_err());
        assert_eq!((code, is_retryable, written), ("TOO_LARGE", false, Written::Nothing));
        assert!(why.starts_with("expected at most 1050000000 bytes (1 GB) in one call, found 105000"), "{why}");
        let count = "SELECT (SELECT count(*) FROM tracer_executions) + (SELECT count(*) FROM tracer_queue)";
        assert_eq!(client(&config).await.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
    });
}

/// As servers are for a while when another one takes their place.
#[test]
fn a_server_that_may_only_be_read_is_tried_again() {
    run(async {
        let config = server::config("read_only").await;
        let pool = Pool::builder(Manager::new(config, NoTls)).max_size(1).build().unwrap();
        let manager = ExecutionManager::new(PostgresStore::with_pool(pool.clone()).await.unwrap());
        let set = async |is_on: bool| {
            let set = format!("SET default_transaction_read_only = {is_on}");
            pool.get().await.unwrap().batch_execute(&set).await.unwrap();
        };
        let id = manager.create(NewExecution::new("work")).await.unwrap().id;
        set(true).await;
        let error = manager.start(&id).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable(), error.written()), ("STORE", true, Written::Nothing));
        set(false).await;
        assert_eq!(manager.start(&id).await.unwrap().status, ExecutionStatus::Running);
    });
}

/// What a batch with keys costs grows with it, and no more.
#[test]
fn many_with_keys_are_created_at_once() {
    run(async {
        let config = server::config("many_keys").await;
        let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await.unwrap());
        let new = |number: u32| NewExecution::new("work").idempotency_key(number.to_string());
        // Those that are there already go another way, and are in between.
        manager.create_all((0..10).map(|number| new(number * 1000))).await.unwrap();
        let created = manager.create_all((0..30_000).map(new)).await.unwrap();
        let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
        assert!((0..30_000).all(|number| created[number].idempotency_key == Some(number.to_string())));
        let due = Claim { types: vec![], only: None, limit: 30_000, worker: "w".to_owned(), lease: SHORT };
        assert_eq!(manager.claim(due).await.unwrap().len(), 30_000);
    });
}
