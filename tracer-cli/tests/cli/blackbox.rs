//! Black boxes of real processes: killed, panicked, alive.
#![cfg(all(target_os = "linux", target_endian = "little"))]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use expect_test::expect;
use serde::Serialize;
use serde_json::json;
use tracer::{Context, Tracer, create_env, traced_node};
use tracer_blackbox::BlackBox;

use crate::world::{Ran, World};

#[derive(Debug, Clone, Copy, Serialize)]
struct Order {
    id: u32,
    password: &'static str,
}

#[traced_node]
fn handle(_ctx: Context, order: Order, innermost: &dyn Fn()) {
    validate(order.id);
    charge(order, innermost);
}

#[traced_node(record)]
fn validate(id: u32) -> bool {
    id > 0
}

#[traced_node(record(order))]
fn charge(order: Order, innermost: &dyn Fn()) {
    send(order.id % 10, innermost);
}

#[traced_node(record(attempt))]
fn send(attempt: u32, innermost: &dyn Fn()) {
    assert!(attempt < 10);
    innermost();
}

#[traced_node]
fn quick(_ctx: Context) {}

#[traced_node(record(attempt))]
fn attempt(attempt: u32, innermost: &dyn Fn()) -> Result<(), &'static str> {
    if attempt == 1 {
        return Err("busy");
    }
    innermost();
    Ok(())
}

#[traced_node]
fn again(_ctx: Context, innermost: &dyn Fn()) {
    assert_eq!(attempt(1, innermost), Err("busy"));
    assert_eq!(attempt(2, innermost), Ok(()));
}

#[traced_node(record(text))]
fn take(text: &str) -> usize {
    text.len()
}

#[traced_node(record(ret))]
fn give(len: usize) -> String {
    "x".repeat(len)
}

fn order(id: u32, innermost: &dyn Fn()) {
    handle(create_env(json!({"order": id}), "POST /orders"), Order { id, password: "hunter2" }, innermost);
}

/// Says that there is something to lose, and waits until it is killed or its standard input ends.
fn wait() {
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Likewise, until there is a byte.
fn wait_a_byte() {
    println!("ready");
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

/// So many that a box of 128 KiB goes round several times before anybody can read it.
const BUSY_CALLS: u32 = 100_000;

/// Not a test: the process that the tests start.
#[test]
#[ignore = "it is run by the tests"]
fn child() {
    let Ok(scenario) = std::env::var("SCENARIO") else { return };
    let options = BlackBox::options().app("orders", "1.2.0").signals(true);
    let options =
        if matches!(&*scenario, "long" | "by hand" | "resumed" | "busy") { options.bytes(128 << 10) } else { options };
    let black_box = options.open(".tracer").unwrap();
    Tracer::builder().recorder(black_box.clone()).install();
    quick(create_env((), "GET /health"));
    match scenario.as_str() {
        "open" => order(17, &wait),
        "two" => {
            let (ready, is_ready) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                order(18, &|| {
                    ready.send(()).unwrap();
                    loop {
                        std::thread::park();
                    }
                });
            });
            is_ready.recv().unwrap();
            order(17, &wait);
        }
        "again" => again(create_env((), "retry"), &wait),
        "between" => {
            let ctx = create_env((), "batch");
            let ctx = ctx.step("load", tracer::Status::Enter, ()).unwrap();
            let _ctx = ctx.step("load", tracer::Status::Exit, ()).unwrap();
            wait();
        }
        "long" => order(17, &|| {
            for id in 0..10_000 {
                validate(id);
            }
            wait();
        }),
        "giant" => order(17, &|| {
            for id in 0..15_000 {
                validate(id);
            }
            wait();
        }),
        "resumed" => {
            let ctx = create_env((), "webhook").step("load", tracer::Status::Enter, ()).unwrap();
            let token = ctx.step("load", tracer::Status::Exit, ()).unwrap().token();
            for _ in 0..40 {
                (0..100).for_each(|id| _ = validate(id));
                drop(Context::resume(token.clone()).unwrap());
            }
            wait();
        }
        "large" => {
            let ctx = create_env("x".repeat(200_000), "import").step("rows", tracer::Status::Enter, ()).unwrap();
            let _ctx = ctx.step("rows", tracer::Status::Exit, ()).unwrap();
            take(&give(100_000));
            wait();
        }
        "panic" => {
            let panicked = std::panic::catch_unwind(|| order(17, &|| panic!("no card \u{1b}[2J")));
            assert!(panicked.is_err());
            // The test harness would go on.
            std::process::abort();
        }
        "steps" => order(17, &|| {
            wait_a_byte();
            validate(99);
            wait();
        }),
        "busy" => order(17, &|| {
            wait_a_byte();
            for id in 0..BUSY_CALLS {
                validate(id);
            }
            order(18, &wait);
        }),
        "deep" => order(17, &|| deep(50)),
        "branch" => {
            let panicked = std::panic::catch_unwind(|| {
                order(17, &|| {
                    let mut branch = std::pin::pin!(tracer::branch(async { refuse(3) }));
                    let waker = std::task::Waker::noop();
                    let _never = branch.as_mut().poll(&mut std::task::Context::from_waker(waker));
                });
            });
            assert!(panicked.is_err());
            std::process::abort();
        }
        "by hand" => {
            let ctx = create_env((), "batch");
            let ctx = ctx.step("load", tracer::Status::Enter, json!({"page": 3})).unwrap();
            let _ctx = ctx.step("row", tracer::Status::Enter, ()).unwrap();
            order(17, &|| {
                (0..10_000).for_each(|id| _ = validate(id));
                wait();
            });
        }
        "return" => order(17, &|| {}),
        other => panic!("no scenario {other}"),
    }
}

#[traced_node(record)]
fn deep(left: u32) {
    if left == 0 { wait() } else { deep(left - 1) }
}

#[traced_node(record)]
fn refuse(id: u32) {
    panic!("nobody takes {id}");
}

/// A process with a black box in the `.tracer` of a world.
struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

fn start(world: &World, scenario: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "blackbox::child", "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.env("SCENARIO", scenario).current_dir(world.path(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    Process { child, output }
}

impl Process {
    fn ready(mut self) -> Self {
        let ready = self.output.by_ref().map_while(Result::ok).any(|line| line.ends_with("ready"));
        assert!(ready, "it ended before it was ready");
        self
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

pub(crate) fn killed(scenario: &str) -> World {
    let world = World::new();
    start(&world, scenario).ready().kill();
    world
}

pub(crate) fn file(world: &World) -> PathBuf {
    let files: Vec<_> = fs::read_dir(world.path(".tracer/orders")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

/// Without what differs from run to run: ids, times, durations, the number of the process and the name of the file.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            let is_number =
                |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let is_id = |word: &str| {
                let digits = word.trim_start_matches("tr_");
                digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            let (word, end) = word.strip_suffix([',', ':']).map_or((word, ""), |rest| (rest, &word[rest.len()..]));
            let last = words.last().map(String::as_str);
            if matches!(word, "ns" | "µs" | "ms" | "s") && last.is_some_and(is_number) {
                words.pop();
                while words.last().is_some_and(String::is_empty) {
                    words.pop();
                }
                words.push(format!("_{end}"));
            } else if last == Some("pid") {
                words.push(format!("_{end}"));
            } else if word.starts_with("20") && word.ends_with('Z') {
                words.push(format!("(time){end}"));
            } else if is_id(word) {
                words.push(format!("(id){end}"));
            } else if let Some(at) = word.find(".tracer/orders/") {
                let behind = word.split_once(".tbx").map_or("", |(_, behind)| behind);
                words.push(format!("{}.tracer/orders/(name).tbx{behind}{end}", &word[..at]));
            } else {
                words.push(format!("{word}{end}"));
            }
        }
        masked.push_str(words.join(" ").trim_end());
        masked.push('\n');
    }
    masked
}

pub(crate) fn text(ran: &Ran) -> String {
    masked(&ran.text())
}

/// A process, as it is shown: the state of its trace, what became of it, and of the outer and innermost open nodes.
#[derive(Clone, Copy)]
struct Fate {
    state: &'static str,
    process: &'static str,
    open: [&'static str; 2],
}

const KILLED: Fate = Fate {
    state: "lost",
    process: "killed (SIGKILL, or a signal that leaves no note)\nalive   until (time), if not for longer",
    open: ["open for at least _", "the last that was recorded"],
};
const RUNNING: Fate = Fate { state: "running", process: "still running", open: ["open for _ so far"; 2] };

/// What is shown of order 17 in the midst of `send`.
fn order_17(records: u32, fate: Fate, beside: &str) -> String {
    let Fate { state, process, open: [outer, innermost] } = fate;
    format!(
        "\
(id) POST /orders · {state} · _
payload {{\"order\":17}}
…          handle
✓ _  ├─ validate(id=17)
…          └─ charge(order={{\"id\":17,\"password\":•••}})
…             └─ send(attempt=7)

began   (time)
file    .tracer/orders/(name).tbx (black box)
read    recovered {records} records, nothing is missing
process orders 1.2.0, pid _: {process}
open    handle, entered after _, {outer}
open    charge(order={{\"id\":17,\"password\":•••}}), entered after _, {outer}
open    send(attempt=7), entered after _, {innermost}
{beside}--- 0
"
    )
}

#[test]
fn what_a_killed_process_was_doing_is_shown() {
    let world = killed("open");
    assert_eq!(text(&world.run("show last")), order_17(9, KILLED, ""));
    expect![[r#"
        (id)  (time)  POST /orders  lost _   4 spans  … send(attempt=7)
        (id)  (time)  GET /health   ok _    1 span
        --- 0
    "#]]
    .assert_eq(&text(&world.run("ls")));
    expect![[r#"
        (time) (id) enter validate(id=17)
        (time) (id) exit  validate
        (time) (id) enter charge(order={"id":17,"password":•••})
        (time) (id) enter send(attempt=7)
        --- 0
    "#]]
    .assert_eq(&text(&world.run("tail -n 4")));
    expect![[r#"
        .tracer/orders/(name).tbx (black box, 10.30 MiB)
          process orders 1.2.0, pid _: killed (SIGKILL, or a signal that leaves no note)
          holds   9 records of 2 traces
          open    (id) handle since (time)
          open    (id) charge(order={"id":17,"password":•••}) since (time)
          open    (id) send(attempt=7) since (time)
          read    recovered 9 records, nothing is missing
        --- 0
    "#]]
    .assert_eq(&text(&world.run("recover")));
    expect![[r#"
          records    traces   missing      size  file
                9         2         0 10.30 MiB  .tracer/orders/(name).tbx

          records     spans   missing     state  trace
                6         4         0      lost  (id) POST /orders
                3         1         0        ok  (id) GET /health

        1 file of 10.30 MiB: 9 records of 2 traces (1 lost, 1 ok)
        --- 0
    "#]]
    .assert_eq(&text(&world.run("stats")));
}

#[test]
fn every_verb_tells_it_to_programs_too() {
    let world = killed("open");
    for verb in ["ls", "show last", "show last-failed", "tail", "recover", "stats", "doctor"] {
        let ran = world.run(&format!("{verb} --json"));
        assert!(ran.code == 0 && !ran.json().is_empty(), "{verb}: {}", ran.text());
    }
    let file = &world.run("recover --json").json()[0];
    assert_eq!((&file["alive"], &file["records"], &file["gaps"]), (&json!(false), &json!(9), &json!([])));
    assert_eq!(file["open"][2]["arguments"], json!({"attempt": 7}));
}

#[test]
fn a_trace_that_ended_well_says_what_else_was_open() {
    let world = killed("open");
    let listed = world.run("ls --source GET --json").json();
    let shown = text(&world.run(&format!("show {}", listed[0]["short"].as_str().unwrap())));
    assert!(shown.contains(" GET /health · ok · "), "{shown}");
    assert!(shown.contains("beside  (id) POST /orders(order=17), "), "{shown}");
}

#[test]
fn other_requests_of_the_process_are_shown_beside() {
    let world = killed("two");
    let beside = "\
beside  (id) POST /orders(order=18), open for at least _
        … handle > charge(order={\"id\":18,\"password\":•••}) > send(attempt=8)
";
    assert_eq!(text(&world.run("show last")), order_17(15, KILLED, beside));
    let shown = &world.run("show last --json").json()[0];
    let nodes: Vec<_> = shown["beside"].as_array().unwrap().iter().map(|open| &open["node"]).collect();
    assert_eq!(nodes, ["handle", "charge", "send"]);
}

#[test]
fn a_request_beside_whose_source_was_written_over_is_named_by_what_is_open() {
    let shown = text(&killed("by hand").run("show last"));
    assert!(shown.contains("\nbeside  (id) load(page=3), open for at least _\n"), "{shown}");
}

#[test]
fn what_goes_on_after_an_error_is_open_once_and_since_it_began() {
    let world = killed("again");
    let shown = text(&world.run("show last"));
    let open: Vec<_> = shown.lines().filter(|line| line.starts_with("open")).collect();
    expect![[r#"
        open    again, entered after _, open for at least _
        open    attempt(attempt=2), entered after _, the last that was recorded"#]]
    .assert_eq(&open.join("\n"));
    assert_eq!(world.run("recover").out.matches("  open ").count(), 2);
}

#[test]
fn a_trace_that_was_cut_off_between_two_nodes_is_lost() {
    let world = killed("between");
    expect![[r#"
        (id) batch · lost · _
        ✓ _  load

        began   (time)
        file    .tracer/orders/(name).tbx (black box)
        read    recovered 6 records, nothing is missing
        process orders 1.2.0, pid _: killed (SIGKILL, or a signal that leaves no note)
        alive   until (time), if not for longer
        --- 0
    "#]]
    .assert_eq(&text(&world.run("show last-failed")));
}

#[test]
fn what_is_open_for_long_is_shown_though_its_enter_was_written_over() {
    let world = killed("long");
    let shown = text(&world.run("show last"));
    let open: Vec<_> = shown.lines().filter(|line| line.starts_with('…') || line.starts_with("open")).collect();
    expect![[r#"
        …          handle
        …          └─ charge(order={"id":17}) (cut)
        …             └─ send(attempt=7)
        … and 880 calls below
        open    handle, entered after _, open for at least _
        open    charge(order={"id":17}) (cut), entered after _, open for at least _
        open    send(attempt=7), entered after _, open for at least _"#]]
    .assert_eq(&open.join("\n"));
    assert!(shown.contains("written over"), "{shown}");
}

#[test]
fn what_was_too_large_to_be_recorded_whole_says_so() {
    let world = killed("large");
    let flagged = |json: &serde_json::Value| {
        ["payload_truncated", "arguments_truncated", "result_truncated"].map(|name| json[name].as_bool())
    };
    let listed = world.run("ls --json").json();
    let shown = |node: &str| {
        let of = listed.iter().find(|trace| trace["source"] == node).unwrap();
        let short = of["short"].as_str().unwrap();
        (world.run(&format!("show {short}")).out, world.run(&format!("show {short} --json")).json().remove(0))
    };
    let (text, json) = shown("import");
    assert!(text.lines().nth(1).unwrap().ends_with("x… (cut)"), "{text}");
    assert_eq!(flagged(&json), [Some(true), None, None]);
    let (text, json) = shown("take");
    assert!(text.lines().nth(1).unwrap().ends_with("x…) (cut)"), "{text}");
    assert_eq!(flagged(&json["spans"][0]), [None, Some(true), Some(false)]);
    let (text, json) = shown("give");
    assert!(text.lines().nth(1).unwrap().ends_with("x… (cut)"), "{text}");
    assert_eq!(flagged(&json["spans"][0]), [None, Some(false), Some(true)]);
    let cut: Vec<_> = world.run("tail -n 100").out.lines().map(|line| line.ends_with(" (cut)")).collect();
    assert_eq!(cut.iter().filter(|is_cut| **is_cut).count(), 3, "{cut:?}");
}

#[test]
fn of_a_giant_trace_the_newest_is_drawn_and_what_is_open() {
    let world = killed("giant");
    let shown = text(&world.run("show last"));
    let drawn = shown.lines().filter(|line| line.contains("validate(id=")).count();
    assert!((20..=40).contains(&drawn), "{shown}");
    assert!(shown.contains("validate(id=14999)") && !shown.contains("validate(id=5)"), "{shown}");
    assert!(shown.starts_with("(id) POST /orders · lost · _\n"), "{shown}");
    let cut: Vec<_> = shown.lines().filter(|line| line.starts_with("cut")).collect();
    assert!(matches!(cut[..], [cut] if cut.ends_with("not drawn; `--all` draws them")), "{shown}");
    let numbers: Vec<usize> = cut[0].split(' ').filter_map(|word| word.replace(',', "").parse().ok()).collect();
    // Older records, and calls of the newest 1,000 records.
    assert!(matches!(numbers[..], [28_000..=29_100, 400..=900]), "{cut:?}");
    let open: Vec<_> = shown.lines().filter(|line| line.starts_with("…  ") || line.starts_with("open")).collect();
    expect![[r#"
        …          handle
        …          └─ charge(order={"id":17,"password":•••})
        …             └─ send(attempt=7)
        open    handle, entered after _, open for at least _
        open    charge(order={"id":17,"password":•••}), entered after _, open for at least _
        open    send(attempt=7), entered after _, open for at least _"#]]
    .assert_eq(&open.join("\n"));
    let all = world.run("show last --all").out;
    assert_eq!(all.lines().filter(|line| line.contains("validate(id=")).count(), 15_001);
    assert!(!all.contains("not drawn"), "{all}");
    let json = &world.run("show last --json").json()[0];
    assert_eq!(json["spans"].as_array().unwrap().len(), 15_004);
}

/// Few are asked for: those of a few traces are read. Of many, all are.
#[test]
fn the_newest_of_many_traces_are_those_of_all() {
    let world = killed("resumed");
    let all = world.run("tail -n 1000000").out;
    let all: Vec<_> = all.lines().collect();
    assert!(all.len() > 1000);
    for count in [0, 1, 2, 5, 30, 200] {
        let newest = world.run(&format!("tail -n {count}")).out;
        assert_eq!(newest.lines().collect::<Vec<_>>(), all[all.len() - count..], "{count}");
    }
    // Another, of before: nothing of it is among them.
    let other = World::new();
    for (nth, scenario) in ["return", "steps"].into_iter().enumerate() {
        start(&other, scenario).end();
        fs::rename(file(&other), other.path(&format!("{}.tbx", ["b", "a"][nth]))).unwrap();
    }
    let both = [other.run("tail -n 5 --dir a.tbx --dir b.tbx"), other.run("tail -n 5 --dir a.tbx")];
    assert_eq!(both[0].out, both[1].out);
}

#[test]
fn what_lives_is_still_running_and_its_records_come_as_they_are_made() {
    let world = World::new();
    let mut process = start(&world, "steps").ready();
    let shown = text(&world.run("show last"));
    assert_eq!(shown, order_17(9, RUNNING, ""));
    assert!(world.run("ls").out.contains("  running  "));
    assert_eq!(world.run("show last-failed").code, 1);

    let mut command = world.command("tail -f -n 1 --json");
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(tail.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        (text("node"), text("status"))
    };
    assert_eq!(next(), ("send".to_owned(), "enter".to_owned()));
    std::io::Write::write_all(process.child.stdin.as_mut().unwrap(), b"\n").unwrap();
    for status in ["enter", "exit"] {
        assert_eq!(next(), ("validate".to_owned(), status.to_owned()));
    }
    // Another process, while this one is followed.
    start(&world, "return").end();
    let others: Vec<_> = (0..12).map(|_| next().0).collect();
    let expected =
        ["", "quick", "quick", "", "handle", "validate", "validate", "charge", "send", "send", "charge", "handle"];
    assert_eq!(others, expected);
    tail.kill().unwrap();
    tail.wait().unwrap();
    process.kill();
}

#[test]
fn what_is_written_over_before_it_was_read_is_told() {
    let world = World::new();
    let mut process = start(&world, "busy").ready();
    let mut command = world.command("tail -f -n 1 --json");
    let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let number = |json: &serde_json::Value, name: &str| json[name].as_u64().unwrap();
    let before = number(&next(), "seq");
    std::io::Write::write_all(process.child.stdin.as_mut().unwrap(), b"\n").unwrap();
    let (mut records, mut pages, mut missed) = (0, 0, 0);
    let last = loop {
        let line = next();
        if line["type"] == "missed" {
            assert!(line["file"].as_str().unwrap().contains("/orders/"), "{line}");
            pages += number(&line, "pages");
            missed += number(&line, "records");
            continue;
        }
        records += 1;
        if line["values"]["order"]["id"] == 18 {
            break number(&line, "seq");
        }
    };
    assert!(missed > 0 && pages > 0, "{missed} records in {pages} pages");
    // A page that begins anew while it is read is told as missed, and comes later: there may be two of them.
    let all = last - before;
    assert!((all..all + all / 4).contains(&(records + missed)), "{records} and {missed} of {all} records");
    tail.kill().unwrap();
    let said = std::io::read_to_string(tail.stderr.take().unwrap()).unwrap();
    assert!(said.contains(" written over before they could be read"), "{said:?}");
    tail.wait().unwrap();
    process.kill();
}

#[test]
fn a_panic_is_told_with_its_text() {
    let world = World::new();
    start(&world, "panic").end();
    expect![[r#"
        (id) POST /orders · failed · _
        payload {"order":17}
        ↑ _  handle
        ✓ _  ├─ validate(id=17)
        ↑ _  └─ charge(order={"id":17,"password":•••})
        ✗ _     └─ send(attempt=7) — panic: no card \u{1b}[2J

        began   (time)
        file    .tracer/orders/(name).tbx (black box)
        read    recovered 12 records, nothing is missing
        process orders 1.2.0, pid _: panicked: tracer-cli/tests/cli/blackbox.rs:153: no card \u{1b}[2J
        alive   until (time), if not for longer
        --- 0
    "#]]
    .assert_eq(&text(&world.run("show last-failed")));
    let ended = &world.run("show last-failed --json").json()[0]["files"][0]["ended"];
    assert_eq!((ended["kind"].as_str(), ended["text"].as_str().is_some()), (Some("panic"), true), "{ended}");
}

/// The env that it came out of has no text of it.
#[test]
fn a_panic_that_came_out_of_a_branch_is_told_with_its_text() {
    let world = World::new();
    start(&world, "branch").end();
    let listed = text(&world.run("ls"));
    assert!(listed.contains("✗ refuse: panic: nobody takes 3"), "{listed}");
}

/// What it was at is at the bottom of the stack, however deep that is.
#[test]
fn of_many_open_nodes_the_outermost_and_the_innermost_are_listed() {
    let shown = text(&killed("deep").run("show last"));
    let open: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("open")).take(21).collect();
    assert!(open[0].contains("handle") && open[9].contains("deep(left=44)"), "{shown}");
    assert_eq!(open[10].trim(), "… and 34 between", "{shown}");
    assert!(open[11].contains("deep(left=9)") && open[20].contains("deep(left=0)"), "{shown}");
}

#[test]
fn two_processes_in_one_directory_are_told_apart() {
    let world = World::new();
    let living = start(&world, "open").ready();
    start(&world, "open").ready().kill();
    start(&world, "return").end();
    let files = world.run("recover --json").json();
    let mut deaths: Vec<_> = files.iter().map(|file| format!("{} {}", file["death"], file["ended"])).collect();
    deaths.sort_unstable();
    expect![[r#"
        "ended in order, exit status 0" {"kind":"clean","status":0}
        "killed (SIGKILL, or a signal that leaves no note)" {"kind":"killed"}
        "still running" {"kind":"running"}"#]]
    .assert_eq(&deaths.join("\n"));
    assert!(files.iter().all(|file| file["app"] == "orders" && file["pid"].as_u64().is_some_and(|pid| pid > 1)));
    let states: Vec<_> =
        world.run("ls --source POST --json").json().iter().map(|trace| trace["state"].clone()).collect();
    assert_eq!(states, ["ok", "lost", "running"]);
    let found = text(&world.run("doctor"));
    let found: Vec<_> = found.lines().filter(|line| !line.contains(" free")).collect();
    expect![[r#"
        · .tracer/orders/(name).tbx: orders 1.2.0, pid _ is running
          leave the file until it has ended
        ✓ .tracer/orders/(name).tbx: black box: recovered 9 records, nothing is missing
        ✓ .tracer/orders/(name).tbx: black box: recovered 9 records, nothing is missing
        ✓ .tracer/orders/(name).tbx: black box: recovered 12 records, nothing is missing
        --- 0"#]]
    .assert_eq(&found.join("\n"));
    living.kill();
}

#[test]
fn what_was_recovered_is_the_same_once_the_box_is_gone() {
    for scenario in ["two", "again", "between", "long", "by hand", "resumed"] {
        let world = killed(scenario);
        let told = || {
            // Each reading measures the clock: of thousands of durations, one differs in its last digit.
            let list = |run| if scenario == "two" { world.run(run).text() } else { text(&world.run(run)) };
            let mut told: Vec<String> = ["ls", "ls --failed"].map(list).into();
            let failed = world.run("ls --failed --json").json();
            for trace in failed.iter().map(|trace| trace["short"].as_str().unwrap()) {
                let shown = world.run(&format!("show {trace}")).text();
                let of_files = |line: &&str| line.starts_with("file ") || line.starts_with("read ");
                let shown = shown.lines().filter(|line| !of_files(line)).collect::<Vec<_>>().join("\n");
                // A nanosecond more or less, from reading to reading.
                told.push(masked(&shown).replace("the last that was recorded", "open for at least _"));
            }
            told.push(world.run("stats").out.lines().skip_while(|line| !line.ends_with("  trace")).collect());
            told
        };
        let before = told();
        assert!(before[1].contains("  lost ") && before[2].contains("killed ("), "{scenario}: {before:?}");
        assert_eq!(world.run("recover --out .tracer/all.jsonl").code, 0);
        let once = world.read(".tracer/all.jsonl");
        world.run("recover --out .tracer/all.jsonl");
        assert!(world.read(".tracer/all.jsonl") == once, "{scenario}: written twice");
        // In both files, and listed once.
        assert_eq!(told()[..2], before[..2], "{scenario}");
        fs::remove_dir_all(world.path(".tracer/orders")).unwrap();
        let after = told();
        for (after, before) in after.iter().zip(&before) {
            let without_size = |text: &str| text.split(" file of ").next().unwrap().to_owned();
            assert_eq!(without_size(after), without_size(before), "{scenario}");
        }
        assert_eq!(after.len(), before.len());
    }
}

/// What is known later of a process counts, in whichever file.
#[test]
fn a_process_that_was_recovered_while_it_ran_is_told_as_it_ended() {
    let world = World::new();
    let process = start(&world, "open").ready();
    world.run("recover --out .tracer/all.jsonl");
    let of_copy = |run: &str| text(&world.run(&format!("{run} --dir .tracer/all.jsonl")));
    assert!(of_copy("show last").contains(" · running · "));
    assert!(of_copy("show last").contains(": still running\n"));
    process.kill();
    assert_eq!(text(&world.run("show last")).matches(": killed (").count(), 1);
    world.run("recover --out .tracer/all.jsonl");
    assert!(of_copy("show last-failed").contains(": killed ("));
    let files = world.run("recover --json --dir .tracer/all.jsonl").json();
    assert_eq!((&files[0]["app"], &files[0]["ended"]["kind"]), (&json!("orders"), &json!("killed")));
}

#[test]
fn marks_of_what_was_told_are_no_trouble() {
    let world = killed("open");
    fs::write(file(&world).with_extension("read"), "").unwrap();
    assert!(!world.run("doctor").out.contains(".read"));
    fs::write(world.path(".tracer/orders/other.read"), "").unwrap();
    assert!(world.run("doctor").out.contains("other.read"));
}

#[test]
fn a_box_is_known_by_its_beginning() {
    let world = killed("open");
    fs::rename(file(&world), world.path("copy")).unwrap();
    assert!(world.run("show --dir copy").out.contains("send(attempt=7)"));
}

#[test]
fn a_terminal_sees_it_in_colour() {
    let world = killed("open");
    let shown = world.run("show --color always").out;
    assert!(shown.contains("\u{1b}[33mopen"), "{shown:?}");
}
