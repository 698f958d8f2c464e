//! Black boxes of processes that were forked in the midst of a call.
#![cfg(all(target_os = "linux", target_endian = "little"))]

use std::collections::HashSet;
use std::fs;
use std::future::{Future as _, poll_fn};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::mem::replace;
use std::process::{self, Command, Stdio};
use std::task::{self, Poll, Waker};
use std::thread;

use fork::{Fork, fork};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tracer::{Cause, Clock, Context, Record, Status, SystemClock, Tracer, carry, create_env, traced_node};
use tracer_blackbox::{BlackBox, Gap, Recovered, recover};

use crate::world::World;

/// Longer than what the table of open nodes has of it.
const SITE: &str = "a shop for everybody in the whole world";
/// The last of them leaves what was open when it was forked.
const WORKERS: u32 = 3;
const CALLS: u32 = 3;

#[traced_node(record(site))]
fn serve(site: &str, work: &dyn Fn(u32)) {
    take(u32::try_from(site.len()).unwrap());
    let mut workers = Vec::new();
    for worker in 1..=WORKERS {
        match fork().unwrap() {
            Fork::Child => return work(worker),
            Fork::Parent(pid) => workers.push(pid),
        }
    }
    for worker in workers {
        waitpid(Pid::from_raw(worker), WaitOptions::empty()).unwrap();
    }
    (1..=CALLS).for_each(|call| _ = take(call));
    again(true);
    hang(0);
}

#[traced_node(record)]
fn work(worker: u32) {
    (1..=CALLS).for_each(|call| _ = take(worker * 10 + call));
    again(true);
    if worker < WORKERS {
        hang(process::id());
    }
}

/// In a call that it has not begun, and in a trace of its own.
#[traced_node(record)]
fn work_long(worker: u32) {
    take(worker);
    let ctx = create_env((), "own").step("begin", Status::Enter, ()).unwrap();
    (0..100_000).for_each(|call| _ = take(call));
    let _ctx = ctx.step("begin", Status::Exit, ()).unwrap();
    wait(process::id());
}

/// Enters nothing in a child but by common calls.
#[traced_node]
fn plain(serve: &dyn Fn()) {
    serve();
    (0..CALLS).for_each(|_| common());
    wait(process::id());
}

#[traced_node]
fn common() {}

#[traced_node(record)]
fn take(request: u32) -> u32 {
    request
}

/// In an env of its own the second time.
#[traced_node(record)]
fn again(once: bool) {
    if once {
        again(false);
    }
}

#[traced_node]
fn hang(said: u32) {
    wait(said);
}

/// Until it is killed.
fn wait(said: u32) -> ! {
    println!("\nready {said}");
    loop {
        thread::park();
    }
}

/// A child ends when it has done this, and its parent waits for that.
fn in_child(child: impl FnOnce()) {
    match fork().unwrap() {
        Fork::Child => {
            child();
            process::exit(0);
        }
        Fork::Parent(pid) => _ = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap(),
    }
}

#[traced_node(record(who))]
fn job(who: &str, work: &dyn Fn()) {
    black_box(who);
    work();
}

/// Neither process records anything in the env that the other was forked in, but in others.
fn apart() {
    let work = |who: &'static str| {
        thread::spawn(carry(move || job(who, &|| ()))).join().unwrap();
        job("again", &|| job(who, &|| ()));
    };
    job("all", &|| {
        in_child(|| work("child"));
        work("parent");
    });
}

/// A child of a child, whose parent is in a call that it has begun itself.
fn generations() {
    job("all", &|| {
        in_child(|| job("child", &|| in_child(|| _ = take(2))));
        job("parent", &|| _ = take(1));
    });
}

#[traced_node]
async fn later() {
    let mut is_over = false;
    poll_fn(|_| if replace(&mut is_over, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    (0..CALLS).for_each(|_| common());
}

/// Both go on with a future that has begun.
fn future() {
    let mut later = Box::pin(later());
    let mut go_on = || later.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_ready();
    assert!(!go_on());
    in_child(|| {
        // In a trace of its own: so this thread has to begin with the other anew.
        common();
        assert!(go_on());
    });
    assert!(go_on());
}

#[traced_node]
async fn moved() {
    let mut is_over = false;
    poll_fn(|_| if replace(&mut is_over, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    in_child(|| job("child", &|| process::exit(0)));
}

/// Begins on another thread.
fn moved_here() {
    let (mut moved, noop) = (Box::pin(moved()), || task::Context::from_waker(Waker::noop()));
    let begun = thread::spawn(move || {
        assert!(moved.as_mut().poll(&mut noop()).is_pending());
        moved
    });
    assert!(begun.join().unwrap().as_mut().poll(&mut noop()).is_ready());
}

/// Steps by hand that another thread has begun, which both go on with.
fn by_hand() {
    let enter = |ctx: Context, node: &str| ctx.step(node, Status::Enter, ()).unwrap();
    job("all", &|| {
        let ctx = thread::spawn(move || enter(create_env((), "hand"), "begin")).join().unwrap();
        in_child(|| {
            take(2);
            drop(enter(Context::resume(ctx.token()).unwrap(), "in_child"));
        });
        drop(enter(Context::resume(ctx.token()).unwrap(), "in_parent"));
    });
}

#[traced_node]
async fn moved_long() {
    let mut is_over = false;
    poll_fn(|_| if replace(&mut is_over, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    job("child", &|| {
        (0..100_000).for_each(|call| _ = take(call));
        die();
    });
}

/// Begins on another thread, and goes on in a child alone.
fn moved_into_child() {
    let (mut moved, noop) = (Box::pin(moved_long()), || task::Context::from_waker(Waker::noop()));
    let begun = thread::spawn(move || {
        assert!(moved.as_mut().poll(&mut noop()).is_pending());
        moved
    });
    let mut moved = begun.join().unwrap();
    in_child(|| _ = moved.as_mut().poll(&mut noop()));
}

/// What a child records first is of a trace of its own.
fn first() {
    take(0);
    in_child(|| long_of(&create_env((), "queue")));
}

#[traced_node]
fn long_of(_ctx: &Context) {
    (0..100_000).for_each(|call| _ = take(call));
    die();
}

/// A context that no process has used before both do.
fn adopted() {
    let ctx = create_env((), "queue");
    let work = |who: &str| job_of(&ctx, who);
    in_child(|| work("one"));
    in_child(|| work("two"));
    work("parent");
}

#[traced_node(record(who))]
fn job_of(_ctx: &Context, who: &str) {
    black_box(who);
    (0..CALLS).for_each(|_| common());
}

/// Steps by hand that another thread has begun, and the one that forks goes on with.
fn by_hand_of_another() {
    let enter = |ctx: Context, node: &str| ctx.step(node, Status::Enter, ()).unwrap();
    let ctx = thread::spawn(move || enter(create_env((), "hand"), "begin")).join().unwrap();
    let _ctx = enter(ctx, "more");
    in_child(|| {
        take(1);
        die();
    });
}

fn die() {
    kill_process(Pid::from_raw(process::id().cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// A clock of somebody else's.
struct Wall;

impl Clock for Wall {
    fn ticks(&self) -> u64 {
        SystemClock.unix_ns(SystemClock.ticks())
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        ticks
    }
}

/// Not a test: the process that the tests start.
#[test]
#[ignore = "it is run by the tests"]
fn process() {
    let Ok(scenario) = std::env::var("FORKS") else { return };
    let (bytes, work): (_, fn(u32)) = match &*scenario {
        "long" | "moved-long" | "first" | "first-by-another-clock" => (128 << 10, work_long),
        "plain" => (1 << 20, |_| ()),
        _ => (1 << 20, work),
    };
    let black_box = BlackBox::options().app("shop", "").bytes(bytes).open(".tracer").unwrap();
    let tracer = Tracer::builder().recorder(black_box);
    match &*scenario {
        "first-by-another-clock" => tracer.clock(Wall).install(),
        _ => tracer.install(),
    };
    match &*scenario {
        "apart" => return apart(),
        "generations" => return generations(),
        "hand" => return by_hand(),
        "future" => return future(),
        "first" | "first-by-another-clock" => return first(),
        "moved" => return moved_here(),
        "moved-long" => return moved_into_child(),
        "adopted" => return adopted(),
        "hand-of-another" => return by_hand_of_another(),
        "plain" => plain(&|| serve(SITE, &work)),
        _ => {}
    }
    serve(SITE, &work);
    wait(process::id());
}

fn process_in(world: &World, scenario: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "forks::process", "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.env("FORKS", scenario).current_dir(world.path("")).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// The black boxes of a process and of its children, all of which have ended.
fn ended(scenario: &str) -> World {
    let world = World::new();
    assert!(process_in(&world, scenario).stdout(Stdio::null()).status().unwrap().success());
    world
}

/// The black boxes of a process and of its children, all of which were killed.
fn killed(scenario: &str) -> World {
    let world = World::new();
    let mut parent = process_in(&world, scenario).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut ready = || lines.find_map(|line| line.strip_prefix("ready ")?.parse::<i32>().ok()).unwrap();
    for _ in 0..WORKERS {
        // Its parent waits for it, so that no other process has its number.
        kill_process(Pid::from_raw(ready()).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(ready(), 0);
    parent.kill().unwrap();
    parent.wait().unwrap();
    world
}

/// The black boxes of a world, as bytes.
fn boxes(world: &World) -> Vec<Vec<u8>> {
    let files = fs::read_dir(world.path(".tracer/shop")).unwrap();
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// What that of the only child says.
fn of_child(boxes: &[Vec<u8>]) -> Recovered<'_> {
    let mut all = boxes.iter().map(|bytes| recover(bytes).unwrap());
    all.find(|read| read.process.parent_segment.is_some()).unwrap()
}

/// A tree without times: how each node stands, and where.
fn drawn(shown: &str) -> Vec<String> {
    let tree = shown.lines().skip(1).take_while(|line| !line.is_empty());
    let tree: Vec<Vec<char>> = tree.map(|line| line.chars().collect()).collect();
    let column = tree[0].iter().position(|char| *char == 's').unwrap();
    tree.iter().map(|line| line[..1].iter().chain(&line[column..]).collect()).collect()
}

/// Workers do the same at one time, so in any order.
fn workers_in_order(mut tree: Vec<String>) -> Vec<String> {
    let at = tree.iter().position(|line| line.contains("work(")).unwrap();
    let plain = |line: &String| line.replace("│  ", "   ").replace("└─ work", "├─ work");
    let workers: Vec<_> = tree.drain(at..).map(|line| plain(&line)).collect();
    let mut workers: Vec<_> = workers.chunk_by(|_, next| !next.contains("work(")).map(<[_]>::to_vec).collect();
    workers.sort_by_key(|worker| worker[0][3..].to_owned());
    tree.into_iter().chain(workers.concat()).collect()
}

#[test]
fn what_each_process_recorded_is_drawn_in_the_call_that_it_was_forked_in() {
    let world = killed("short");
    let shown = world.run("show last").out;
    let worker = |nr: u32| {
        let how = if nr < WORKERS { "…" } else { "✓" };
        let mut lines = vec![format!("{how}├─ work(worker={nr})")];
        for call in 1..=CALLS {
            lines.push(format!("✓   ├─ take(request={nr}{call})"));
        }
        let end = if nr == WORKERS { "└─" } else { "├─" };
        lines.extend([format!("✓   {end} again(once=true)"), "✓      └─ again(once=false)".to_owned()]);
        lines.extend((nr < WORKERS).then(|| "…   └─ hang".to_owned()));
        lines
    };
    let serve = format!("serve(site={SITE:?})");
    let first = [format!("…{serve}"), format!("✓├─ take(request={})", SITE.len())];
    let calls = (1..=CALLS).map(|call| format!("✓├─ take(request={call})"));
    let parent = first.into_iter().chain(calls);
    let parent = parent.chain(["✓├─ again(once=true)", "✓│  └─ again(once=false)", "…├─ hang"].map(str::to_owned));
    let expected: Vec<_> = parent.chain((1..=WORKERS).flat_map(worker)).collect();
    assert_eq!(workers_in_order(drawn(&shown)), expected, "{shown}");
    let open: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("open    ")?.split(',').next()).collect();
    let count = |node: &str| open.iter().filter(|open| **open == node).count();
    assert_eq!([&*serve, "hang", "work(worker=1)", "work(worker=2)"].map(count), [1, 3, 1, 1], "{shown}");
    assert_eq!(open.len(), 6, "{shown}");
    assert_eq!(shown.matches("nothing is missing").count(), 4, "{shown}");

    let listed = &world.run("ls --json").json()[0];
    assert_eq!(
        (&listed["spans"], &listed["state"], listed["files"].as_array().unwrap().len()),
        (&28.into(), &"lost".into(), 4)
    );
    let counted = world.run("stats --json").json();
    let of = |what: &str| counted.iter().find(|line| line["of"] == what).unwrap();
    assert_eq!(
        (&of("trace")["lost_steps"], &of("trace")["records"], &of("all")["records"]),
        (&0.into(), &59.into(), &59.into())
    );
}

#[test]
fn all_that_each_process_recorded_is_recovered_once() {
    let world = killed("short");
    assert_eq!(world.run("recover --out out.jsonl").err, "note: out.jsonl: 59 records added, 0 there already\n");
    assert_eq!(world.run("recover --out out.jsonl").err, "note: out.jsonl: 0 records added, 59 there already\n");
    let records = recovered(&world);
    for env in records.iter().filter(|record| record["type"] == "env") {
        let steps = records.iter().filter(|record| record["type"] == "step" && record["env_id"] == env["env_id"]);
        let numbers: Vec<_> = steps.map(|step| step["step_id"].as_u64().unwrap()).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{env}: {numbers:?}");
    }
    let envs = records.iter().filter(|record| record["type"] == "env");
    let left =
        envs.map(|env| (env["cause"].as_str().unwrap(), env["parent_env"].as_str(), env["parent_step"].as_u64()));
    let left: HashSet<_> = left.collect();
    let root = records.iter().find(|record| record["cause"] == "root").unwrap()["env_id"].as_str();
    // Each called itself in an env of its own.
    let count = |cause: &str| left.iter().filter(|left| left.0 == cause).count();
    assert_eq!((left.len(), count("reentry")), (6, 4), "{left:?}");
    assert!(left.contains(&("root", None, None)) && left.contains(&("fork", root, Some(3))), "{left:?}");
    // The number of the record of an env that goes on is another once the first of its steps were written over.
    let renumber = |record: &Value| match record["type"].as_str() {
        Some("env") => record.to_string().replace("\"seq\":", "\"seq\":1"),
        _ => record.to_string(),
    };
    world.write("renumbered.jsonl", records.iter().map(renumber).fold(String::new(), |all, line| all + &line + "\n"));
    let again = world.run("recover --out renumbered.jsonl").err;
    assert_eq!(again, "note: renumbered.jsonl: 0 records added, 59 there already\n");
    let [of_boxes, of_copy] = ["show last", "show last --dir out.jsonl"].map(|run| world.run(run).out);
    assert_eq!(drawn(&of_boxes), drawn(&of_copy));
}

/// All calls, each behind those that it was made in.
fn calls(shown: &str) -> Vec<String> {
    let tree = shown.lines().skip(1).take_while(|line| !line.is_empty());
    let (mut above, mut calls): (Vec<&str>, _) = (Vec::new(), Vec::new());
    for line in tree {
        let call = line.rsplit(['├', '└', '─', '│', ' ']).next().unwrap();
        let column = line.chars().count() - call.chars().count();
        above.truncate((column - COLUMN) / 3);
        above.push(call);
        calls.push(above.join(" "));
    }
    calls.sort_unstable();
    calls
}

/// Where the first call of a tree stands.
const COLUMN: usize = 11;

#[test]
fn calls_in_other_envs_are_told_apart_too() {
    let world = ended("apart");
    let shown = world.run("show last").out;
    let (all, again) = (r#"job(who="all")"#, r#"job(who="again")"#);
    let mut expected = vec![all.to_owned()];
    for who in ["child", "parent"] {
        let call = format!("job(who={who:?})");
        expected.extend([format!("{all} {call}"), format!("{all} {again}"), format!("{all} {again} {call}")]);
    }
    expected.sort_unstable();
    assert_eq!(calls(&shown), expected, "{shown}");
    recovered(&world);
    // Each alone says what started it.
    for file in world.run("recover --json").json().iter().filter_map(|line| line["file"].as_str()) {
        assert_eq!(world.run(&format!("ls --json --dir {file}")).json()[0]["source"], "job");
        let shown = world.run(&format!("show last --dir {file}")).out;
        assert!(shown.lines().next().unwrap().contains(" job · "), "{shown}");
    }
}

#[test]
fn a_child_of_a_child_is_drawn_in_the_call_that_it_was_forked_in() {
    let world = ended("generations");
    let shown = world.run("show last").out;
    let [all, child, parent] = ["all", "child", "parent"].map(|who| format!("job(who={who:?})"));
    let expected = [
        all.clone(),
        format!("{all} {child}"),
        format!("{all} {child} take(request=2)"),
        format!("{all} {parent}"),
        format!("{all} {parent} take(request=1)"),
    ];
    assert_eq!(calls(&shown), expected, "{shown}");
    recovered(&world);
}

#[test]
fn calls_of_a_future_that_both_go_on_with_are_told_apart() {
    let world = ended("future");
    let nodes = |node: &str| recovered(&world).iter().filter(|record| record["node"] == node).count();
    assert_eq!(nodes("common"), 14);
}

#[test]
fn calls_of_a_context_that_each_takes_up_anew_are_told_apart() {
    let world = ended("adopted");
    let nodes = |node: &str| recovered(&world).iter().filter(|record| record["node"] == node).count();
    assert_eq!((nodes("job_of"), nodes("common")), (6, 18));
    let shown = world.run("show last").out;
    assert_eq!(shown.matches("common").count(), 9, "{shown}");
}

/// Whoever began it: the thread that forks is in it, or takes it up in the child.
#[test]
fn what_a_child_was_forked_in_is_open_there() {
    let expected =
        [("moved", ["moved", "job"]), ("moved-long", ["moved_long", "job"]), ("hand-of-another", ["begin", "more"])];
    for (scenario, expected) in expected {
        let world = ended(scenario);
        let boxes = boxes(&world);
        let open: Vec<String> = of_child(&boxes).open.into_iter().map(|open| open.node).collect();
        assert_eq!(open, expected, "{scenario}");
    }
}

#[test]
fn steps_by_hand_of_another_thread_are_told_apart_too() {
    let world = ended("hand");
    let id = world.run("ls --json").json().iter().find(|trace| trace["source"] == "hand").unwrap()["trace_id"].clone();
    let shown = world.run(&format!("show {}", id.as_str().unwrap())).out;
    assert_eq!(calls(&shown), ["begin", "begin in_child", "begin in_parent"], "{shown}");
    let count = world.run("recover --json").json().iter().filter_map(|file| file["records"].as_u64()).sum::<u64>();
    let said = world.run("recover --out out.jsonl").err;
    assert_eq!(said, format!("note: out.jsonl: {count} records added, 0 there already\n"));
}

#[test]
fn common_calls_are_told_apart_too() {
    let world = killed("plain");
    let nodes = |node: &str| recovered(&world).iter().filter(|record| record["node"] == node).count();
    assert_eq!(nodes("common"), 18);
}

/// In a file; no two of them have entered the same frame.
fn recovered(world: &World) -> Vec<Value> {
    world.run("recover --out out.jsonl");
    let records: Vec<Value> = world.read("out.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let enters = records.iter().filter(|record| record["status"] == "enter");
    let frames: Vec<_> = enters.map(|enter| enter["frame"].as_str().unwrap()).collect();
    assert_eq!(frames.iter().collect::<HashSet<_>>().len(), frames.len(), "{frames:?}");
    records
}

#[test]
fn what_one_child_recorded_is_drawn_without_its_parent() {
    let world = killed("short");
    for file in world.run("recover --json").json().iter().filter_map(|line| line["file"].as_str()) {
        let shown = world.run(&format!("show last --dir {file}")).out;
        // One has left everything before it was killed.
        let state = if shown.contains("hang") { "lost" } else { "ok" };
        assert!(shown.lines().next().unwrap().contains(&format!(" serve · {state} ")), "{shown}");
        assert_eq!(shown.contains("serve(site=\"a shop for"), state == "lost", "{shown}");
        let counted = world.run(&format!("stats --json --dir {file}")).json();
        assert!(counted.iter().any(|line| line["of"] == "trace" && line["lost_steps"] == 0), "{counted:?}");
    }
}

#[test]
fn what_a_child_began_keeps_its_ids_after_that_was_written_over() {
    let world = killed("long");
    let boxes = boxes(&world);
    let read = || boxes.iter().map(|bytes| recover(bytes).unwrap());
    let parent = read().find(|read| read.process.parent_segment.is_none()).unwrap();
    let of_parent: HashSet<_> = parent.records().map(|record| record.env_id()).collect();
    for child in read().filter(|read| read.process.parent_segment.is_some()) {
        assert!(child.gaps.iter().any(|gap| matches!(gap, Gap::WrittenOver { .. })), "{}", child.confidence);
        let records: Vec<Record> = child.records().collect();
        assert!(records.iter().all(|record| !of_parent.contains(&record.env_id())));
        let taken = records.iter().filter_map(Record::as_step).filter(|step| step.node == "take");
        let numbers: HashSet<_> = taken.filter_map(|step| Some(step.frame?.number() >> 40)).collect();
        assert!(numbers.len() == 1 && numbers.iter().all(|number| *number >= 1 << 23), "{numbers:?}");
        let open = child.open.iter().map(|open| (&*open.node, open.frame.unwrap().number() >> 63));
        assert_eq!(open.collect::<Vec<_>>(), [("serve", 0), ("work_long", 1)]);
        let mut envs: Vec<_> = records.iter().filter_map(Record::as_env).map(|env| (&*env.source, env.cause)).collect();
        envs.sort_unstable_by_key(|(source, _)| *source);
        assert_eq!(envs, [("own", Cause::Root), ("serve", Cause::Fork)]);
        let left: HashSet<_> = records.iter().filter_map(|record| record.as_env()?.parent_env).collect();
        assert!(left.is_subset(&of_parent) && left.len() == 1);
    }
}

#[test]
fn what_a_child_began_first_is_its_own_after_that_was_written_over() {
    for scenario in ["first", "first-by-another-clock"] {
        let world = ended(scenario);
        let boxes = boxes(&world);
        let child = of_child(&boxes);
        let records: Vec<Record> = child.records().collect();
        let envs: Vec<_> = records.iter().filter_map(Record::as_env).map(|env| (env.cause, env.parent_env)).collect();
        assert_eq!(envs, [(Cause::Root, None)], "{scenario}");
        assert!(child.traces()[0].lost_steps > 0, "{scenario}: {}", child.confidence);
    }
}
