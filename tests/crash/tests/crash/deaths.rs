//! Every way to die: what was open is shown with its arguments, and the death has the right name.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracer::{Record, Status};
use tracer_blackbox::{Death, Observed};

use crate::child::{Directory, Recovered, Running, aborting, command, recover_with, start, start_command};
use crate::kills::{acknowledged, lost, wait_for_calls};
use crate::places::limited;

/// `outer(order=17)` and, in it, `inner(what="tea")` were running.
fn is_open(recovered: &Recovered) {
    let open: Vec<_> = recovered.open.iter().map(|node| (&*node.node, node.arguments.clone())).collect();
    let hash = open.last().map_or(&Value::Null, |(_, arguments)| &arguments["password"]["$redacted"]);
    assert!(hash.is_string(), "{open:?}");
    let expected =
        [("outer", json!({"order": 17})), ("inner", json!({"what": "tea", "password": {"$redacted": hash}}))];
    assert_eq!(open, expected, "{}", recovered.confidence);
    assert_eq!(recovered.active, [recovered.open[0].trace_id]);
    let since = Duration::from_nanos(recovered.open[0].since_unix_ns);
    let age = now().checked_sub(since).unwrap();
    assert!(age < Duration::from_mins(1), "entered {age:?} ago");
    assert!(recovered.open[0].since_unix_ns <= recovered.open[1].since_unix_ns);
    assert_eq!(recovered.gaps, []);
    assert_eq!(recovered.process.app, "child");
    assert_eq!(recovered.process.app_version, "1.2.3");
}

#[test]
fn killed() {
    let directory = Directory::new();
    start("open", directory.path(), &[]).ready().kill();
    let here = Observed::here();
    let recovered = directory.recovered_by(&here);
    is_open(&recovered);
    assert_eq!(recovered.death, Death::Killed);
    assert_eq!(recovered.death.to_string(), "killed");
    assert_eq!(recovered.confidence.to_string(), "recovered 5 records, nothing is missing");
    assert_eq!(directory.recovered_by(&here), recovered, "once more");
}

/// The control: what is over is not shown as open.
#[test]
fn control_what_returned_is_not_open() {
    let directory = Directory::new();
    let (status, _) = start("open", directory.path(), &[]).ready().end();
    assert!(status.success());
    let recovered = directory.recovered();
    assert_eq!((recovered.open, recovered.active), (vec![], vec![]));
    assert_eq!(recovered.death, Death::Clean { status: Some(0) });
}

const NOTED: [(&str, i32); 5] = [("SEGV", 11), ("BUS", 7), ("ABRT", 6), ("ILL", 4), ("FPE", 8)];

/// Sends a signal that ends it.
fn die_of(running: Running, (name, number): (&str, i32)) -> ExitStatus {
    if matches!(name, "SEGV" | "BUS") {
        // The standard library's handler takes the first for a fault that will come again, and goes on.
        running.send_and_see_handled(name, number);
    }
    running.signal(name)
}

#[test]
fn signals_are_noted_and_still_kill() {
    for (name, number) in NOTED {
        let directory = Directory::new();
        let status = die_of(start("open", directory.path(), &[]).ready(), (name, number));
        assert_eq!(status.signal(), Some(number));
        let recovered = directory.recovered();
        is_open(&recovered);
        assert_eq!(recovered.death, Death::Signal { number, address: 0 });
        assert_eq!(recovered.death.to_string(), format!("died of SIG{name}"));
    }
}

/// Threads write on while a handler notes what it was, and makes the checks of the pages that they write to.
#[test]
fn signals_in_the_midst_of_calls_lose_nothing() {
    for (name, number) in NOTED {
        let directory = Directory::new();
        let running = start("count", directory.path(), &["4", "sync"]).ready();
        wait_for_calls(directory.path(), 1, 1000);
        assert_eq!(die_of(running, (name, number)).signal(), Some(number));
        let recovered = directory.recovered();
        assert_eq!(recovered.death, Death::Signal { number, address: 0 });
        assert_eq!(lost(&recovered.records, &acknowledged(directory.path())), Ok(0), "{}", recovered.confidence);
        assert_eq!((recovered.gaps, recovered.confidence.is_damaged), (vec![], false), "SIG{name}");
        assert!(recovered.open.iter().any(|node| node.node == "items"), "{:?}", recovered.open);
    }
}

/// Where there is no more memory to get, the standard library aborts, in whichever thread asks next.
#[test]
fn a_process_that_gets_no_more_memory_loses_nothing() {
    let directory = Directory::new();
    let running = start_command(limited("-v 400000", "memory", &directory, &[])).ready();
    let (status, error) = running.end();
    assert_eq!(status.signal(), Some(6), "{error}");
    assert!(error.contains("memory allocation of"), "{error}");
    let recovered = directory.recovered();
    assert_eq!(recovered.death, Death::Signal { number: 6, address: 0 });
    assert_eq!(lost(&recovered.records, &acknowledged(directory.path())), Ok(0), "{}", recovered.confidence);
    assert_eq!((&*recovered.open[0].node, recovered.gaps), ("items", vec![]));
}

/// As whoever ends a program does it.
#[test]
fn a_signal_that_ends_the_program_is_noted() {
    for (name, number, said) in
        [("TERM", 15, "SIGTERM"), ("INT", 2, "SIGINT"), ("HUP", 1, "SIGHUP"), ("QUIT", 3, "SIGQUIT")]
    {
        let directory = Directory::new();
        let status = start("end-handled", directory.path(), &["default"]).ready().signal(name);
        assert_eq!(status.signal(), Some(number));
        let death = directory.recovered().death;
        assert_eq!((&death, death.to_string()), (&Death::Signal { number, address: 0 }, format!("died of {said}")));
    }
}

/// It is the program's then, whether it came before the box or after it and calls what was there.
#[test]
fn a_signal_that_the_program_handles_is_not_why_it_died() {
    for when in ["before", "after"] {
        let directory = Directory::new();
        let running = start("end-handled", directory.path(), &[when]).ready();
        running.send_and_see_handled("TERM", 15);
        assert_eq!(running.kill().signal(), Some(9), "{when}");
        assert_eq!(directory.recovered().death, Death::Killed);
    }
}

/// As `nohup` has it.
#[test]
fn a_signal_that_is_ignored_stays_so() {
    let directory = Directory::new();
    let ignoring = limited("-c 0 && trap '' HUP", "open", &directory, &[]);
    let running = start_command(ignoring).ready();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 1, 1, "also for what it executes");
    running.send("HUP");
    assert_eq!(running.kill().signal(), Some(9));
    assert_eq!(directory.recovered().death, Death::Killed);
}

/// The control: a signal that is not to be noted is none that was.
#[test]
fn control_another_signal_is_not_noted() {
    let directory = Directory::new();
    let status = start("open", directory.path(), &[]).ready().signal("USR1");
    assert_eq!(status.signal(), Some(10));
    assert_eq!(directory.recovered().death, Death::Killed);
}

/// As a runtime does that finds out by a fault what it has to do.
#[test]
fn a_fault_that_was_survived_is_not_why_it_died() {
    for killed in [true, false] {
        let directory = Directory::new();
        let running = start("fault-mended", directory.path(), &[]).ready();
        let status = if killed { running.kill() } else { running.end().0 };
        let (signal, death) = if killed { (9, Death::Killed) } else { (11, Death::Signal { number: 11, address: 8 }) };
        assert_eq!((status.signal(), directory.recovered().death), (Some(signal), death));
    }
}

#[test]
fn a_signal_that_was_sent_and_survived_is_not_why_it_died() {
    for killed in [true, false] {
        let directory = Directory::new();
        let running = start("open", directory.path(), &[]).ready();
        running.send_and_see_handled("SEGV", 11);
        let status = if killed { running.kill() } else { running.signal("SEGV") };
        let (signal, death) = if killed { (9, Death::Killed) } else { (11, Death::Signal { number: 11, address: 0 }) };
        assert_eq!((status.signal(), directory.recovered().death), (Some(signal), death));
    }
}

/// Raised, it looks like an `abort`, which nobody survives.
#[test]
fn the_signal_of_an_abort_that_was_survived_is_not_why_it_died() {
    let directory = Directory::new();
    start("abort-survived", directory.path(), &["goes on"]).ready().kill();
    assert_eq!(directory.recovered().death, Death::Killed);
    let directory = Directory::new();
    let (status, _) = start("abort-survived", directory.path(), &["faults"]).end();
    assert_eq!(status.signal(), Some(11));
    assert_eq!(directory.recovered().death, Death::Signal { number: 11, address: 8 });
}

/// Without a box, the system ends who ignores a fault, and who has handled one once.
#[test]
fn a_fault_that_nobody_mends_is_noted_and_kills() {
    for handling in ["ignore", "mend", "once", "restore"] {
        let directory = Directory::new();
        let (status, _) = start_command(limited("-t 10", "fault-handled", &directory, &[handling])).end();
        assert_eq!(status.signal(), Some(11), "{handling}");
        assert_eq!(directory.recovered().death, Death::Signal { number: 11, address: 8 }, "{handling}");
    }
}

#[test]
fn of_threads_that_fault_at_once_one_is_noted() {
    for _ in 0..50 {
        let directory = Directory::new();
        let (status, _) = start("faults-at-once", directory.path(), &[]).end();
        assert_eq!(status.signal(), Some(11));
        assert_eq!(directory.recovered().death, Death::Signal { number: 11, address: 8 });
    }
}

#[test]
fn a_fault_is_noted_with_its_address() {
    let directory = Directory::new();
    let (status, _) = start("fault", directory.path(), &[]).end();
    assert_eq!(status.signal(), Some(11));
    let recovered = directory.recovered();
    assert_eq!(recovered.death, Death::Signal { number: 11, address: 8 });
    assert_eq!(recovered.open.len(), 2);
}

#[test]
fn a_stack_overflow_is_noted() {
    let directory = Directory::new();
    let (status, error) = start("overflow", directory.path(), &[]).end();
    assert_eq!(status.signal(), Some(6), "{error}");
    assert!(error.contains("overflowed its stack"), "the handler that was there before has run: {error}");
    let recovered = directory.recovered();
    is_open(&recovered);
    assert!(matches!(recovered.death, Death::Signal { number: 11, .. }), "{}", recovered.death);
}

#[test]
fn an_abort_is_noted() {
    let directory = Directory::new();
    let (status, _) = start("abort", directory.path(), &[]).end();
    assert_eq!(status.signal(), Some(6));
    let recovered = directory.recovered();
    is_open(&recovered);
    assert_eq!(recovered.death.to_string(), "died of SIGABRT");
}

#[test]
fn an_end_in_order_is_told_with_its_status() {
    for (scenario, code, arguments) in [("return", 0, vec![]), ("exit", 3, vec!["3"])] {
        let directory = Directory::new();
        let (status, _) = start(scenario, directory.path(), &arguments).end();
        assert_eq!(status.code(), Some(code));
        assert_eq!(directory.recovered().death, Death::Clean { status: u8::try_from(code).ok() });
    }
    let directory = Directory::new();
    start("close", directory.path(), &[]).ready().kill();
    assert_eq!(directory.recovered().death, Death::Clean { status: None });
}

#[test]
fn a_panic_of_main_is_told_with_its_text() {
    let directory = Directory::new();
    let (status, _) = start("panic", directory.path(), &[]).end();
    assert_eq!(status.code(), Some(101));
    let recovered = directory.recovered();
    let Death::Panic { text } = &recovered.death else { panic!("{}", recovered.death) };
    assert!(text.ends_with("no such luck") && text.contains("main.rs:"), "{text}");
    // It unwound: nothing was open in the end, and the error says what it was.
    assert_eq!(recovered.open, []);
}

#[test]
fn a_panic_in_drop_is_a_panic() {
    let directory = Directory::new();
    let (status, _) = start("panic-in-drop", directory.path(), &[]).end();
    assert_eq!(status.code(), Some(101));
    let recovered = directory.recovered();
    let Death::Panic { text } = &recovered.death else { panic!("{}", recovered.death) };
    assert!(text.ends_with(": second") && text.contains("work.rs:"), "{text}");
    let failed = recovered.records.iter().filter_map(Record::as_step).filter(|step| step.status == Status::Error);
    assert_eq!(failed.map(|step| &*step.node).collect::<Vec<_>>(), ["inner"], "the other was left by it");
    assert_eq!((recovered.open, recovered.gaps), (vec![], vec![]));
}

#[test]
fn a_panic_that_was_survived_is_no_death() {
    let directory = Directory::new();
    start("panic-caught", directory.path(), &[]).ready().kill();
    assert_eq!(directory.recovered().death, Death::Killed);
}

#[test]
fn a_panic_in_a_panic_is_a_panic() {
    let directory = Directory::new();
    let (status, _) = start("panic-twice", directory.path(), &[]).end();
    assert_eq!(status.signal(), Some(6));
    let recovered = directory.recovered();
    assert!(matches!(recovered.death, Death::Panic { .. }), "{}", recovered.death);
}

#[test]
fn a_panic_that_ends_the_process_at_once_loses_nothing() {
    let directory = Directory::new();
    let mut program = aborting("count-and-panic", directory.path(), &["2"]);
    // The others count on while a backtrace is drawn: where that takes seconds, until the box has gone round.
    program.env("RUST_BACKTRACE", "0");
    let running = start_command(program).ready();
    wait_for_calls(directory.path(), 1, 1000);
    // Where others work, the first thread has made its calls before the second has begun.
    wait_for_calls(directory.path(), 2, 1);
    let (status, error) = running.end();
    let (recovered, acknowledged) = (directory.recovered(), acknowledged(directory.path()));
    let all = format!("{acknowledged:?} acknowledged; {}; {:?}; {error}", recovered.confidence, recovered.open);
    assert_eq!(status.signal(), Some(6), "{all}");
    assert_eq!(error.matches("no such luck").count(), 1, "{all}");
    let Death::Panic { text } = &recovered.death else { panic!("{}: {all}", recovered.death) };
    assert!(text.ends_with("no such luck") && text.contains("main.rs:"), "{text}: {all}");
    assert_eq!(lost(&recovered.records, &acknowledged), Ok(0), "{all}");
    // Nothing has unwound.
    assert_eq!(recovered.open.iter().filter(|node| node.node == "items").count(), 2, "{all}");
}

/// Nothing unwinds that would end the frames of the thread, so that is done before.
#[test]
fn a_panic_that_ends_the_process_at_once_is_the_error_of_what_was_running() {
    let directory = Directory::new();
    let (status, _) = start_command(aborting("panic", directory.path(), &[])).end();
    assert_eq!(status.signal(), Some(6));
    let recovered = directory.recovered();
    assert_eq!(recovered.open, []);
    let failed = recovered.records.iter().filter_map(Record::as_step).filter(|step| step.status == Status::Error);
    let failed: Vec<_> = failed.map(|step| (&*step.node, step.error.as_ref().unwrap().message.as_deref())).collect();
    assert_eq!(failed, [("inner", Some("no such luck"))], "the other was left by it");
    assert!(matches!(recovered.death, Death::Panic { .. }), "{}", recovered.death);
}

/// As on a slow machine that draws a backtrace.
#[test]
fn a_panic_that_takes_long_to_tell_is_why_the_process_ended() {
    for (is_unwinding, end) in [(true, (Some(101), None)), (false, (None, Some(6)))] {
        let directory = Directory::new();
        let program = if is_unwinding { command } else { aborting };
        let (status, _) = start_command(program("panic", directory.path(), &["slowly"])).end();
        assert_eq!((status.code(), status.signal()), end);
        let recovered = directory.recovered();
        assert!(matches!(recovered.death, Death::Panic { .. }), "{}", recovered.death);
    }
}

/// The control: where it unwinds, the others go on, and it is not why the process ended.
#[test]
fn control_a_panic_of_a_thread_alone_is_no_death() {
    let directory = Directory::new();
    let mut running = start("count-and-panic", directory.path(), &["2"]).ready();
    running.go_on();
    wait_for_calls(directory.path(), 1, 1000);
    running.kill();
    assert_eq!(directory.recovered().death, Death::Killed);
}

pub(crate) fn unix_ms() -> u64 {
    u64::try_from(now().as_millis()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the clock of the black box is compared with it")]
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A cgroup is full of files that were read, too. Once somebody could ask the system, it is what that says.
#[test]
fn a_full_cgroup_is_why_it_was_killed_unless_the_system_knows_better() {
    const MIB: u64 = 1 << 20;
    const ASKED: u64 = 1 << 63;
    let directory = Directory::new();
    start("open", directory.path(), &[]).ready().kill();
    let death = |used: u64, first: u64, last: u64| {
        let mut bytes = directory.bytes();
        for (word, value) in [(3, used), (4, 100 * MIB), (6, first), (7, last)] {
            let at = 0x2000 + word * 8;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        recover_with(&bytes, &Observed::here()).unwrap().death
    };
    let of_memory = |used: u64| Death::Memory { used, limit: 100 * MIB };
    assert_eq!(death(50 * MIB, 1, 1), Death::Killed);
    assert_eq!(death(99 * MIB, 1, 1), of_memory(99 * MIB));
    assert_eq!(death(99 * MIB, 1, 1 | ASKED), Death::Killed);
    assert_eq!(death(50 * MIB, 1, 2 | ASKED), of_memory(50 * MIB));
    assert_eq!(death(99 * MIB, 0, 0), of_memory(99 * MIB), "where it cannot be asked");
}

#[test]
fn a_deadline_that_passed_is_why_it_was_killed() {
    let directory = Directory::new();
    // It is over by the time that the program is ready.
    let deadline_ms = unix_ms();
    start("deadline", directory.path(), &[&deadline_ms.to_string()]).ready().kill();
    let recovered = directory.recovered();
    is_open(&recovered);
    assert_eq!(recovered.death, Death::DeadlineExceeded { deadline_ms });
}

/// The control: one that lies ahead is not.
#[test]
fn control_a_deadline_ahead_is_no_reason() {
    let directory = Directory::new();
    let deadline_ms = unix_ms() + 600_000;
    start("deadline", directory.path(), &[&deadline_ms.to_string()]).ready().kill();
    assert_eq!(directory.recovered().death, Death::Killed);
}

/// Nor if somebody looks only once it has passed.
#[test]
fn who_was_killed_long_before_its_deadline_did_not_die_of_it() {
    let directory = Directory::new();
    let deadline_ms = unix_ms() + 600_000;
    start("deadline", directory.path(), &[&deadline_ms.to_string()]).ready().kill();
    let later = Observed { now_unix_ns: (deadline_ms + 600_000) * 1_000_000, ..Observed::here() };
    assert_eq!(directory.recovered_by(&later).death, Death::Killed);
}

#[test]
fn a_process_of_another_pid_namespace_is_not_said_to_be_killed() {
    let directory = Directory::new();
    let running = start("open", directory.path(), &[]).ready();
    let here = Observed::here();
    // As seen from a container beside: its number is nobody's, or somebody else's.
    let beside = Observed { pid_namespace: here.pid_namespace + 1, ..here.clone() };
    let nobody = Observed { living: BTreeSet::new(), ..beside.clone() };
    let death = |observed: &Observed| directory.recovered_by(observed).death;
    assert_eq!((death(&beside), death(&nobody)), (Death::OtherNamespace, Death::OtherNamespace));
    assert_eq!(Death::OtherNamespace.to_string(), "unknown: another PID namespace");
    // The controls: in its own namespace, and where that is not known.
    assert_eq!(death(&here), Death::StillRunning);
    assert_eq!(death(&Observed { pid_namespace: 0, ..nobody }), Death::Killed);
    running.kill();
}

#[test]
fn a_process_that_lives_is_still_running_and_its_number_alone_is_not_it() {
    let directory = Directory::new();
    let running = start("open", directory.path(), &[]).ready();
    let here = Observed::here();
    let while_it_ran = directory.recovered_by(&here);
    is_open(&while_it_ran);
    assert_eq!(while_it_ran.death, Death::StillRunning);
    running.kill();
    let dead = directory.recovered();
    // Another process has got the number since.
    let living = BTreeSet::from([(dead.process.pid, dead.process.start_time + 1)]);
    assert_eq!(directory.recovered_by(&Observed { living, ..here.clone() }).death, Death::Killed);
    // The machine was restarted, and a process has the same number and start time.
    let restarted = Observed { boot_id: Some([7; 16]), ..here };
    assert_eq!(directory.recovered_by(&restarted).death, Death::HostLost);
    assert_eq!(directory.recovered_by(&Observed::default()).death, Death::Unknown);
}
