//! A forked child writes into a file of its own, and the parent goes on in its.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tracer::StepRecord;
use tracer_blackbox::{Death, read_file};

use crate::child::{Directory, Recovered, recover_file, recover_when_gone, start};
use crate::deaths::now;

/// Where a file says whether its lock is held: word 23 of the status.
const LOCK_AT: usize = 0x2000 + 23 * 8;

fn steps(recovered: &Recovered) -> impl Iterator<Item = &StepRecord> {
    recovered.records.iter().filter_map(|record| record.as_step())
}

fn nodes(recovered: &Recovered) -> Vec<&str> {
    let mut nodes: Vec<_> = steps(recovered).map(|step| &*step.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[test]
fn a_fork_is_two_files_and_neither_has_anything_of_the_other() {
    let directory = Directory::new();
    let mut running = start("fork", directory.path(), &[]);
    let line = running.line();
    let (at_most_ns, of_child) = line.split_once(' ').unwrap();
    running.ready().kill();
    let files = directory.files();
    assert_eq!(files.len(), 2, "{files:?}");
    let of_parent = files.iter().find(|path| path.to_str() != Some(of_child)).unwrap();
    let (parent, child) = (recover_file(of_parent).unwrap(), recover_file(of_child).unwrap());

    assert_eq!(nodes(&parent), ["elsewhere", "item", "parent"]);
    assert_eq!(steps(&parent).filter(|step| step.node == "item").count(), 2000);
    assert_eq!(parent.gaps, []);
    // The beginning of what was open at the fork is in the parent's file; of its own the child lacks nothing.
    assert_eq!(child.gaps, []);
    let envs = |of: &Recovered| of.records.iter().map(tracer::Record::env_id).collect::<HashSet<_>>();
    assert!(envs(&parent).is_disjoint(&envs(&child)));
    let frames = |of: &Recovered| {
        let entered = steps(of).filter(|step| step.status == tracer::Status::Enter);
        entered.map(|step| (step.trace_id, step.frame)).collect::<HashSet<_>>()
    };
    assert!(frames(&parent).is_disjoint(&frames(&child)));
    assert_eq!(parent.process.parent_segment, None);
    assert_eq!(parent.death, Death::Killed);

    assert_eq!(nodes(&child), ["in_child", "in_child_open"]);
    // Of how its counter goes nothing is known but what is in its own file.
    let times: Vec<_> = steps(&child).filter(|step| step.node == "in_child").map(|step| step.ts).collect();
    let (took, at_most) = (times[1] - times[0], at_most_ns.parse().unwrap());
    assert!((50_000_000..=at_most).contains(&took), "{took} of {at_most} ns");
    assert_eq!(child.process.parent_segment, Some(parent.process.segment));
    assert_eq!(child.process.parent_pid, Some(parent.process.pid));
    assert_ne!(child.process.pid, parent.process.pid);
    assert_eq!(child.death, Death::Killed);
    // In the midst of two calls: one that began before the fork, whose values its frame has, one after; none of another
    // thread of the parent.
    let open: Vec<_> = child.open.iter().map(|node| (&*node.node, node.arguments.clone())).collect();
    assert_eq!(open, [("parent", json!({"order": 17})), ("in_child_open", json!({"n": 5}))]);
    assert_eq!(child.open[0].trace_id, parent.open.iter().find(|node| node.node == "parent").unwrap().trace_id);
}

/// Ids come from what the child has a copy of.
#[test]
fn a_child_names_its_traces_as_nobody_else_does() {
    let directory = Directory::new();
    start("fork-between-traces", directory.path(), &[]).ready().kill();
    let files = directory.files();
    let recovered: Vec<_> = files.iter().map(|path| recover_file(path).unwrap()).collect();
    let envs = recovered.iter().flat_map(|recovered| &recovered.records).filter_map(|record| record.as_env());
    let (traces, envs): (HashSet<_>, HashSet<_>) = envs.map(|env| (env.trace_id, env.env_id)).unzip();
    assert_eq!((files.len(), traces.len(), envs.len()), (2, 9, 9));
}

/// Without a box nobody is told of a fork.
#[test]
fn a_child_names_its_executions_as_nobody_else_does() {
    for (before, lines) in [("named", 3), ("traced", 2)] {
        let directory = Directory::new();
        let mut running = start("fork-between-executions", directory.path(), &[before]);
        let said: Vec<_> = (0..lines).map(|_| running.line()).collect();
        // What they begin with is the time.
        let random: HashSet<_> = said.iter().flat_map(|line| line.split(' ')).map(|id| &id[id.len() - 15..]).collect();
        assert_eq!(random.len(), 3 * lines, "{said:?}");
    }
}

/// A lock may be in the hands of a thread that the child does not have.
#[test]
fn a_child_can_do_whatever_was_done_beside_the_fork() {
    for something in ["panics", "steps by hand"] {
        let directory = Directory::new();
        assert_eq!(start("fork-beside", directory.path(), &[something]).line(), "50", "{something}");
    }
}

/// Who forks often goes away at once: what the child records only then is no less its own.
/// The parent ends at once, so that it may be gone before its child has asked for anything.
#[test]
fn a_child_knows_its_parent_though_that_is_gone() {
    for _ in 0..10 {
        let directory = Directory::new();
        start("daemon", directory.path(), &[]).end();
        let files = directory.files();
        let mut both: Vec<_> = files.iter().map(|path| recover_when_gone(path).process).collect();
        both.sort_by_key(|process| process.parent_segment.is_some());
        let [parent, child] = &both[..] else { panic!("{files:?}") };
        assert_eq!((child.parent_segment, child.parent_pid), (Some(parent.segment), Some(parent.pid)));
    }
}

#[test]
fn a_child_goes_on_when_its_parent_was_killed() {
    let directory = Directory::new();
    let running = start("fork-and-die", directory.path(), &[]).ready();
    let of_parent = directory.files();
    let locks =
        || [fs::read(&of_parent[0]).unwrap(), read_file(&of_parent[0]).unwrap()].map(|bytes| bytes[LOCK_AT] & 3);
    assert_eq!(locks(), [1, 3], "the parent has its lock");
    let copy = directory.path().join("copy");
    fs::copy(&of_parent[0], &copy).unwrap();
    assert_eq!(read_file(&copy).unwrap()[LOCK_AT] & 3, 1, "a copy has none that could be asked for");
    fs::write(&copy, read_file(&of_parent[0]).unwrap()).unwrap();
    assert_eq!(read_file(&copy).unwrap()[LOCK_AT] & 3, 0, "of what was held when it was read, nobody knows");
    running.kill_and_see_others_end_after(|| {
        // It has it until it has been told of the fork.
        let until = now() + Duration::from_secs(20);
        while locks() != [1, 2] {
            assert!(now() < until, "the child does not have it");
            std::thread::yield_now();
        }
    });
    let files = directory.files();
    assert_eq!((of_parent.len(), files.len()), (1, 2));
    let of_child = files.iter().find(|path| **path != of_parent[0]).unwrap();
    let (parent, child) = (recover_file(&of_parent[0]).unwrap(), recover_when_gone(of_child));
    assert_eq!((nodes(&parent), nodes(&child)), (vec!["item", "parent"], vec!["in_child_open", "in_orphan"]));
    for (recovered, node) in [(&parent, "item"), (&child, "in_orphan")] {
        let numbers = steps(recovered).filter(|step| step.node == node).filter_map(|step| step.values.get("n"));
        assert!(numbers.eq(&(0..1000).map(|n| json!(n)).collect::<Vec<_>>()), "{}", recovered.confidence);
    }
    assert_eq!((&parent.death, &child.death), (&Death::Killed, &Death::Killed));
    assert_eq!(child.process.parent_segment, Some(parent.process.segment));
    let open = |recovered: &Recovered| recovered.open.iter().map(|node| node.node.clone()).collect::<Vec<_>>();
    assert_eq!(
        (open(&parent), open(&child)),
        (vec!["parent".to_owned()], vec!["parent".into(), "in_child_open".into()])
    );
}

#[test]
fn a_child_that_is_in_a_line_without_a_block_is_in_it() {
    let directory = Directory::new();
    let (status, error) = start("fork-outside", directory.path(), &[]).end();
    assert!(status.success(), "{status}: {error}");
    let read = directory.files().into_iter().map(|file| recover_file(file).unwrap());
    let child = read.into_iter().find(|read| read.process.parent_segment.is_some()).unwrap();
    let open: Vec<_> = child.open.iter().map(|open| &*open.node).collect();
    assert_eq!(open, ["in_child_open"], "{}", child.confidence);
}

/// What became of the file of its parent is no matter of its own; where there is none, both have memory.
#[test]
fn a_child_whose_parent_has_no_whole_file_records_all_the_same() {
    let said = |directory: &Path| {
        let mut running = start("fork-degraded", directory, &[]);
        let lines = [running.line(), running.line()];
        let (status, error) = running.end();
        assert!(status.success(), "{status}: {error}");
        lines
    };
    let directory = Directory::new();
    let [parent, child] = said(directory.path());
    assert!(parent.ends_with(".tbx was truncated 0"), "{parent}");
    assert_eq!(child.trim(), "3");
    let [parent, child] = said(Path::new("/proc/nowhere"));
    assert!(parent.starts_with("/proc/nowhere: ") && parent.ends_with(" 3"), "{parent}");
    assert_eq!(child, parent);
}

/// The parent has recorded all of its own; gives what its child has, if it has a file, and what both said.
fn forked_in_trouble(trouble: &str) -> (Option<Recovered>, String) {
    let directory = Directory::new();
    let (status, error) = start("fork-in-trouble", directory.path(), &[trouble]).end();
    assert_eq!(status.success(), trouble != "overlay", "{trouble}: {status}: {error}");
    let read = directory.files().into_iter().map(|file| recover_file(file).unwrap());
    let (children, parents): (Vec<_>, Vec<_>) = read.partition(|read| read.process.parent_segment.is_some());
    let [parent] = &parents[..] else { panic!("{trouble}: {}", parents.len()) };
    let calls = steps(parent).filter(|step| step.node == "item").count();
    assert_eq!((calls, nodes(parent)), (2000, vec!["item", "parent"]), "{trouble}: {}", parent.confidence);
    assert_eq!((&parent.gaps[..], &parent.open[..]), (&[][..], &[][..]), "{trouble}");
    let ended = if trouble == "overlay" { Death::Killed } else { Death::Clean { status: Some(0) } };
    assert_eq!(parent.death, ended, "{trouble}: its child's end is no end of its own");
    (children.into_iter().next(), error)
}

fn has_all_of_its_own(child: &Recovered) -> bool {
    let numbers = steps(child).filter(|step| step.node == "in_orphan").filter_map(|step| step.values.get("n"));
    numbers.eq(&(0..1000).map(|n| json!(n)).collect::<Vec<_>>())
}

#[test]
fn a_child_that_gets_no_file_says_so() {
    let (child, said) = forked_in_trouble("file");
    assert!(child.is_none());
    let (expected, why) =
        ("tracer: no black box on disk, what is recorded dies with this process: ", "Permission denied");
    assert!(said.matches(expected).count() == 1 && said.contains(why), "{said}");
}

#[test]
fn a_child_that_gets_no_memory_leaves_its_parents_alone() {
    let (child, said) = forked_in_trouble("overlay");
    assert!(child.is_none());
    let expected = "tracer: this forked process cannot have memory of its own, and records no calls: Cannot allocate";
    assert!(said.contains(expected), "{said}");
}

/// As `ulimit -v` limits it.
#[test]
fn a_child_records_where_there_is_no_room_for_a_second_mapping() {
    let (child, said) = forked_in_trouble("second");
    assert!(child.is_some_and(|child| has_all_of_its_own(&child)), "{said}");
}

/// As `ulimit -d` limits it.
#[test]
fn a_child_records_with_little_memory_of_its_own() {
    let (child, said) = forked_in_trouble("data");
    assert!(child.is_some_and(|child| has_all_of_its_own(&child)), "{said}");
}

#[test]
fn what_its_parent_has_survived_is_not_why_a_child_ends() {
    let (child, said) = forked_in_trouble("panic");
    let child = child.unwrap();
    assert!(has_all_of_its_own(&child), "{said}");
    assert_eq!(child.death, Death::Clean { status: Some(101) });
}

#[test]
fn a_child_that_records_nothing_leaves_no_file() {
    let directory = Directory::new();
    // Ready when the child has ended.
    start("forked-and-executed", directory.path(), &[]).ready().kill();
    assert_eq!(directory.recovered().open.len(), 2);
}

#[test]
fn a_child_goes_on_by_hand_with_what_its_thread_had() {
    let directory = Directory::new();
    start("fork-by-hand", directory.path(), &[]).ready().kill();
    let mut read: Vec<_> = directory.files().iter().map(|path| recover_file(path).unwrap()).collect();
    read.sort_by_key(|read| read.process.parent_pid);
    let open =
        |of: &Recovered| of.open.iter().map(|open| (open.node.clone(), open.arguments.clone())).collect::<Vec<_>>();
    let node = |name: &str| (name.to_owned(), json!({"of": name}));
    assert_eq!(open(&read[0]), [node("parse"), ("another".to_owned(), json!(null))]);
    // What was begun by a thread that it does not have is shown once somebody goes on with it.
    assert_eq!(open(&read[1]), [node("parse"), node("fresh"), node("check")]);
}
