//! Short runs on every store, broken ones that have to be noticed, and how soon a dead worker's work goes on.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracer::execution::{ExecutionManager, NewExecution};
use tracer_chaos::history::{self, Fact, now};
use tracer_chaos::target::{Kind, Target};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tracer-chaos");

/// Each run wants the machine to itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs it; whether nothing was wrong, and what it says.
fn chaos(arguments: &[&str]) -> (bool, String) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    println!("{text}");
    (output.status.success(), text)
}

fn short(kind: &str, executions: &str) {
    let (is_right, text) = chaos(&[kind, "--seconds", "12", "--executions", executions]);
    assert!(is_right, "{text}");
    // It did happen.
    for what in [
        " kills",
        " restarts",
        " stops longer than a lease",
        " leases extended",
        " effects",
        " runs with a key",
        " completed",
        " failed",
    ] {
        assert!(text.contains(what), "{what} in {text}");
    }
    assert!(!text.contains(" 0 completed that only heartbeats keep"), "{text}");
    // Where there are many.
    if executions.parse::<u32>().unwrap() >= 2000 {
        assert!(text.contains(" 2 with one key at once in a worker"), "as many as may: {text}");
    }
    if kind.parse::<Kind>().unwrap().has_clock() {
        assert!(!text.contains(" 1 different clocks"), "{text}");
    }
}

#[test]
fn sqlite() {
    short("sqlite", "2000");
}

#[test]
fn postgres() {
    short("postgres", "2000");
}

#[test]
fn mysql() {
    short("mysql", "2000");
}

#[test]
fn redis() {
    short("redis", "2000");
}

#[test]
fn dynamodb() {
    // The emulator answers one request after the other.
    short("dynamodb", "400");
}

#[test]
fn broken_stores_are_noticed() {
    let rules = [
        ("fence", "NoStaleWrite"),
        ("sweep", "NoneStuck"),
        ("started", "AtMostOnce"),
        ("acknowledged", "AcknowledgedIsKept"),
        ("kept", "KeptIsNotRepeated"),
        ("reserved", "AttemptsCount"),
        ("crowded", "FewOfOneKey"),
        ("nobeat", "SingleOwner"),
        ("early", "SingleOwner"),
    ];
    for (fault, rule) in rules {
        // Chance decides what meets what in a run.
        let mut runs = (0..5).map(|_| chaos(&["sqlite", "--seconds", "12", "--executions", "2000", "--broken", fault]));
        let noticed = runs.find_map(|(is_right, text)| (!is_right).then_some(text));
        let text = noticed.unwrap_or_else(|| panic!("{fault} goes unnoticed"));
        assert!(text.contains(rule), "{fault}: {text}");
        // It is kept for who looks into it.
        let directory = text.split_once("the history is in ").unwrap().1.trim();
        std::fs::remove_dir_all(directory).unwrap();
    }
}

fn worker(target: &Target, name: &str, directory: &std::path::Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["worker", &target.to_string(), name]).arg(directory).arg("defaults");
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// With the settings that a worker has if nobody sets any, in particular its lease of 30 s; and with only one other
/// worker, so that nobody else happens to look sooner.
#[test]
fn work_of_a_killed_worker_goes_on_within_its_lease_and_a_second() {
    const LEASE: Duration = Duration::from_secs(30);
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("executions.db").display().to_string();
    let target = Target { kind: Kind::Sqlite, place };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = ExecutionManager::new(target.open().await.unwrap());
        let new = |_| NewExecution::new("hangs").max_attempts(2);
        manager.create_all((0..5).map(new)).await.unwrap();
        let claimed = |by: &str| {
            let history = history::read(directory.path()).unwrap();
            let claimed = history.into_iter().filter(|entry| entry.by == by);
            claimed.filter(|entry| matches!(entry.fact, Fact::Claimed { .. })).map(|entry| entry.to).collect::<Vec<_>>()
        };
        let mut first = worker(&target, "first", directory.path());
        while claimed("first").len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut second = worker(&target, "second", directory.path());
        first.kill().unwrap();
        let killed = now();
        first.wait().unwrap();
        while claimed("second").len() < 5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(Duration::from_nanos(now() - killed) < 2 * LEASE, "nobody takes it over");
        }
        let took = claimed("second").into_iter().max().unwrap() - killed;
        let took = Duration::from_nanos(took);
        println!("all of it runs again after {took:?}");
        assert!(took <= LEASE + Duration::from_secs(1), "{took:?}");
        drop(second.stdin.take());
        second.wait().unwrap();
    });
}
