//! Traces whose first records were written over while they went on: all that is there of them is shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tracer::recorder::page::PAGE_BYTES;
use tracer::{Cause, EnvRecord, ErrorKind, FrameId, Note, NoteRecord, Record, Status, StepRecord, TraceId, TraceState};
use tracer_blackbox::{Gap, TraceSummary};

use crate::child::{Directory, Recovered, recover, start};

/// More than the box has room for: 16 pages of 240 slots of up to 8 steps.
const CALLS: u64 = 100_000;

/// What is there of the only trace.
struct Left {
    trace: TraceSummary,
    records: Vec<Record>,
    gaps: Vec<Gap>,
}

impl Left {
    fn of(how: &str) -> Self {
        let directory = Directory::new();
        start("rounds", directory.path(), &[how, &CALLS.to_string()]).ready().kill();
        let bytes = directory.bytes();
        // What is counted is what is listed.
        let gaps = recover(&bytes).unwrap().gaps;
        assert!(matches!(gaps[0], Gap::WrittenOver { .. }), "the control: the box went round; {gaps:?}");
        assert!(!gaps.iter().any(|gap| matches!(gap, Gap::Orphans { .. })), "{gaps:?}");
        let read = tracer_blackbox::recover(bytes).unwrap();
        let trace = &read.traces()[0];
        Self { trace: trace.clone(), records: read.trace(trace.trace_id).collect(), gaps }
    }

    fn envs(&self) -> Vec<&EnvRecord> {
        self.records.iter().filter_map(Record::as_env).collect()
    }

    fn last_step(&self) -> &StepRecord {
        self.records.iter().filter_map(Record::as_step).next_back().unwrap()
    }

    /// Of the first env, all is known but its payload.
    fn has_root(&self, source: &str) {
        let root = self.envs()[0];
        assert_eq!((root.cause, root.parent_env, &*root.source), (Cause::Root, None, source));
        assert!(root.ts <= self.records[1].ts() && root.seq < self.records[1].seq());
        assert_eq!(self.trace.first_unix_ns, root.ts);
    }

    fn ended(&self, state: TraceState) {
        assert_eq!((self.trace.state, self.trace.is_active), (state, false));
    }

    fn payloads_missing(&self) -> Option<u64> {
        self.gaps.iter().find_map(|gap| match gap {
            Gap::Payloads { envs } => Some(*envs),
            _ => None,
        })
    }
}

#[test]
fn a_trace_that_failed_after_its_beginning_was_written_over_is_there() {
    let left = Left::of("fails");
    left.has_root("fails");
    left.ended(TraceState::Failed);
    let error = left.records.iter().filter_map(Record::as_step).find_map(|step| step.error.clone()).unwrap();
    assert_eq!((error.kind, error.message.as_deref()), (ErrorKind::Err, Some("nobody there")));
    let sent = left.records.iter().filter_map(Record::as_step).find(|step| step.node == "send").unwrap();
    assert_eq!(sent.values, json!({"order": 17}));
    assert_eq!((left.envs().len(), left.payloads_missing()), (1, None), "it had none");
    assert!(!left.envs()[0].truncated);
}

#[test]
fn so_is_one_that_panicked() {
    let left = Left::of("panics");
    left.has_root("panics");
    left.ended(TraceState::Failed);
    let error = left.last_step().error.clone().unwrap();
    assert_eq!((error.kind, error.message.as_deref()), (ErrorKind::Panic, Some("no such luck")));
}

/// What became of it needs the env that followed the one that failed.
#[test]
fn one_that_recovered_is_not_taken_for_one_that_failed() {
    let left = Left::of("recovers");
    left.ended(TraceState::Recovered);
    let envs = left.envs();
    assert_eq!(envs.last().unwrap().cause, Cause::Recovery);
    assert!(envs.last().unwrap().parent_env.is_some());
}

#[test]
fn what_a_fork_recorded_is_there() {
    let left = Left::of("forks");
    let fork = left.envs().into_iter().find(|env| env.cause == Cause::Fork).unwrap();
    let steps = left.records.iter().filter_map(Record::as_step).filter(|step| step.env_id == fork.env_id);
    assert!(steps.clone().all(|step| step.step_id > 100), "the control: its beginning is gone");
    assert!(steps.count() > 1000);
    assert_eq!(fork.parent_env, Some(left.envs()[0].env_id));
    left.has_root("forks");
    left.ended(TraceState::Ok);
}

#[test]
fn what_had_a_payload_lacks_it_and_says_so() {
    for how in ["context", "hand"] {
        let left = Left::of(how);
        left.has_root("webhook");
        left.ended(TraceState::Failed);
        assert_eq!(left.payloads_missing(), Some(1));
        let root = left.envs()[0];
        assert_eq!((&root.payload, root.truncated), (&json!(null), true));
    }
}

/// All else of it was written over by others.
#[test]
fn an_end_alone_is_of_its_trace() {
    for how in ["ends", "unwinds"] {
        let left = Left::of(how);
        left.has_root(how);
        left.ended(TraceState::Failed);
        assert_eq!(left.records.len(), 2, "{how}: the env, and how it ended");
    }
}

#[test]
fn what_threads_without_a_page_recorded_is_of_its_trace() {
    let directory = Directory::new();
    start("rounds", directory.path(), &["shares", "20000"]).ready().kill();
    let recovered = recover(&directory.bytes()).unwrap();
    assert!(!recovered.gaps.iter().any(|gap| matches!(gap, Gap::Orphans { .. })), "{:?}", recovered.gaps);
    let failed = recovered.records.iter().filter_map(Record::as_env).filter(|env| env.source == "fails");
    assert_eq!(failed.count(), 1);
}

/// While it goes on, no block says what trace it is of.
#[test]
fn what_a_line_without_a_block_recorded_is_of_its_trace() {
    for scenario in ["rounds-beside", "rounds-in-turns"] {
        let directory = Directory::new();
        start(scenario, directory.path(), &["100000"]).ready().kill();
        let recovered = recover(&directory.bytes()).unwrap();
        assert!(matches!(recovered.gaps[0], Gap::WrittenOver { .. }), "{:?}", recovered.gaps);
        assert!(!recovered.gaps.iter().any(|gap| matches!(gap, Gap::Orphans { .. })), "{:?}", recovered.gaps);
    }
}

fn left_open(scenario: &str, arguments: &[&str]) -> Recovered {
    let directory = Directory::new();
    start(scenario, directory.path(), arguments).ready().kill();
    directory.recovered()
}

fn not_in_the_table(recovered: &Recovered) -> Option<(u64, u64)> {
    recovered.gaps.iter().find_map(|gap| match gap {
        Gap::Open { lines, frames } => Some((*lines, *frames)),
        _ => None,
    })
}

#[test]
fn calls_that_are_deeper_than_a_block_are_open_however_much_was_written_over() {
    for before in ["nothing", "fails", "recovers"] {
        let left = left_open("rounds-deep", &["100", "100000", before]);
        assert!(matches!(left.gaps[0], Gap::WrittenOver { .. }), "{:?}", left.gaps);
        let open: Vec<_> = left.open.iter().map(|node| node.node.clone()).collect();
        assert_eq!(open, (0..40).map(|nth| format!("n{nth:02}")).collect::<Vec<_>>());
        assert!(left.open.iter().all(|node| node.env_id == left.open[0].env_id));
        assert_eq!(not_in_the_table(&left), None, "{before}");
    }
}

/// Where they are in no block, and the env in the midst is there as it was said once more.
#[test]
fn what_a_deep_line_has_entered_before_it_recovered_twice_is_open_since_then() {
    let directory = Directory::new();
    start("rounds-deep", directory.path(), &["2", "10", "recovers twice"]).ready().kill();
    let mut bytes = directory.bytes();
    let whole = recover(&bytes).unwrap();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let pages_at = usize::try_from(word(&bytes, 112)).unwrap();
    let recoveries: Vec<_> =
        (pages_at..bytes.len()).step_by(64).filter(|at| word(&bytes, *at) & 0x7f == 0x42).collect();
    assert_eq!((recoveries.len(), whole.open.len()), (2, 40));
    let recovery = whole.records.iter().filter_map(Record::as_env).find(|env| env.cause == Cause::Recovery).unwrap();
    assert!(whole.open.iter().all(|node| node.since_unix_ns < recovery.ts));
    bytes[recoveries[0]] = bytes[recoveries[0]] & 0xf0 | 0xb;
    assert_eq!(recover(&bytes).unwrap().open, whole.open);
}

#[test]
fn what_has_no_place_in_the_table_is_counted() {
    // Of a line that is deeper than its block, where no other is to be had.
    let left = left_open("rounds-deep", &["2", "100000", "nothing"]);
    assert_eq!((left.open.len(), not_in_the_table(&left)), (15, Some((0, 25))));
    // Of more lines than blocks.
    let left = left_open("rounds-lines", &["8", "20", "100000"]);
    assert_eq!(not_in_the_table(&left), Some((12, 0)));
    // Some of them have a page of their own, which is still there.
    assert!((8 * 2..20 * 2).contains(&left.open.len()), "{:?}", left.open);
    assert!(left.confidence.to_string().contains("12 lines without a place in the table of open nodes"));
    // The control: all that they recorded is there.
    let left = left_open("rounds-deep", &["2", "100", "nothing"]);
    assert_eq!((left.open.len(), &left.gaps[..]), (40, &[][..]));
    let left = left_open("rounds-lines", &["8", "20", "100"]);
    assert_eq!((left.open.len(), &left.gaps[..]), (20 * 2, &[][..]));
}

/// What steps by hand have left open, where there is room for so many lines and so many calls came behind them; what has
/// no place in the table.
fn open_by_hand(lines: u64, how: &str, calls: u64) -> (Vec<String>, Option<(u64, u64)>) {
    let left = left_open("rounds-by-hand", &[&lines.to_string(), how, &calls.to_string()]);
    assert_eq!(matches!(left.gaps.first(), Some(Gap::WrittenOver { .. })), calls == CALLS, "{:?}", left.gaps);
    for node in &left.open {
        let arguments = json!({"of": node.node});
        assert_eq!((node.frame, &node.arguments, node.truncated), (None, &arguments, false));
        assert!(
            node.since_unix_ns >= left.process.opened_unix_ns && node.since_unix_ns <= left.process.last_sign_unix_ns
        );
        assert!(left.active.contains(&node.trace_id));
    }
    (left.open.iter().map(|node| node.node.clone()).collect(), not_in_the_table(&left))
}

#[test]
fn steps_by_hand_are_open_however_much_was_written_over() {
    for (how, open) in [
        ("open", &["parse", "check", "charge.card", "send"][..]),
        ("elsewhere", &["check"]),
        ("resumed", &["parse", "check", "another"]),
        ("cleared", &["another"]),
        ("over", &["another"]),
    ] {
        let open: Vec<_> = open.iter().map(ToString::to_string).collect();
        assert_eq!(open_by_hand(8, how, CALLS), (open.clone(), None), "{how}");
        // What nobody can end any more has a place among the records alone.
        let (mut recorded, missing) = open_by_hand(8, how, 10);
        recorded.retain(|node| node != "dropped");
        assert_eq!((recorded, missing), (open, None), "{how}");
    }
}

/// A step is in its page before it is in its block: a block of a moment before shows what has ended since.
#[test]
fn steps_by_hand_that_have_ended_are_open_no_more() {
    let directory = Directory::new();
    let mut running = start("rounds-by-hand", directory.path(), &["8", "later", "0"]).ready();
    let before = directory.bytes();
    running.go_on();
    running.end();
    let mut bytes = directory.bytes();
    let at = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let (blocks, pages) = (at(96), at(112));
    bytes[blocks..pages].copy_from_slice(&before[blocks..pages]);
    let open = |bytes: &[u8]| recover(bytes).unwrap().open.into_iter().map(|node| node.node).collect::<Vec<_>>();
    assert_eq!(open(&before), ["parse", "check", "over", "outer", "inner"]);
    assert_eq!(open(&bytes), ["parse"]);
}

#[test]
fn control_without_the_table_steps_by_hand_are_forgotten() {
    let directory = Directory::new();
    start("rounds-by-hand", directory.path(), &["8", "open", &CALLS.to_string()]).ready().kill();
    let mut bytes = directory.bytes();
    assert_eq!(recover(&bytes).unwrap().open.len(), 4);
    let at = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let (blocks, pages) = (at(96), at(112));
    bytes[blocks..pages].fill(0);
    assert_eq!(recover(&bytes).unwrap().open.len(), 0);
}

#[test]
fn steps_by_hand_that_have_no_place_in_the_table_are_counted() {
    // Of an env with more open nodes than a block has room for; those that came first are there, or took the place of one.
    let names = || ["parse", "check"].into_iter().map(str::to_owned).chain((0..17).map(|nth| format!("n{nth:02}")));
    let all: Vec<_> = names().filter(|name| name != "n03").collect();
    assert_eq!(open_by_hand(8, "many", CALLS), (all[..15].to_vec(), Some((0, 3))));
    assert_eq!(open_by_hand(8, "many", 10), (all, None));
    // Of more envs than blocks.
    let (open, missing) = open_by_hand(2, "lines", CALLS);
    assert_eq!((open.len(), missing), (3, Some((2, 0))));
    assert_eq!(open_by_hand(2, "lines", 10).0.len(), 5);
}

/// The enters of one are events.
#[test]
fn what_is_open_in_a_line_without_a_block_is_known_by_what_it_recorded() {
    for calls in ["1", "100", "1000", "3000"] {
        let left = left_open("rounds-beside", &[calls]);
        let open: Vec<_> = left.open.iter().map(|node| &*node.node).collect();
        assert_eq!((open, &left.gaps[..]), (vec!["outer", "inner", "long_plain", "middle"], &[][..]));
    }
}

/// Without any block, whatever was the last that was written, and where a slot in the midst is not there.
#[test]
fn what_is_open_without_blocks_is_what_was_entered_and_has_not_ended() {
    let directory = Directory::new();
    start("rounds-shallow", directory.path(), &["7"]).ready().kill();
    let mut bytes = directory.bytes();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let at = |word: u64| usize::try_from(word).unwrap();
    let (blocks, pages) = (at(word(&bytes, 96)), at(word(&bytes, 112)));
    bytes[blocks..pages].fill(0);
    // A line has none.
    bytes[0x2000 + 24 * 8..][..8].copy_from_slice(&2_u64.to_le_bytes());
    let mut most = 0;
    let mut check = |bytes: &[u8], is_torn: bool| {
        let read = recover(bytes).unwrap();
        let open: BTreeSet<_> = read.open.iter().filter_map(|open| Some((open.trace_id, open.frame?))).collect();
        most = most.max(open.len());
        let expected = open_by(&read.records, &read.active);
        // The env that recovered may be what is missing: then what went on in it is not known to have ended there.
        assert!(if is_torn { open.is_superset(&expected) } else { open == expected }, "{open:?} {expected:?}");
    };
    check(&bytes, false);
    let mut used: Vec<_> =
        (pages..bytes.len()).step_by(PAGE_BYTES).filter(|page| word(&bytes, page + 8) != 0).collect();
    used.sort_by_key(|page| word(&bytes, page + 8));
    assert!(used.len() > 1);
    while let Some(page) = used.pop() {
        for slot in (1..at(word(&bytes, page)) / 8).rev() {
            let (from, to) = (page + 64 + slot * 64, page + 64 + 240 * 64);
            for hole in [slot / 2, slot.saturating_sub(1)] {
                let mut torn = bytes.clone();
                torn[page + 64 + hole * 64..][..64].fill(0);
                check(&torn, true);
            }
            bytes[from..to].fill(0);
            bytes[page..page + 8].copy_from_slice(&(slot as u64 * 8).to_le_bytes());
            check(&bytes, false);
        }
        bytes[page..page + PAGE_BYTES].fill(0);
    }
    assert!(most >= 10, "{most}");
}

fn open_by(records: &[Record], active: &[TraceId]) -> BTreeSet<(TraceId, FrameId)> {
    let mut open = BTreeSet::new();
    for record in records {
        let (frame, is_enter) = match record {
            Record::Step(StepRecord { frame: Some(frame), status, .. }) => (*frame, *status == Status::Enter),
            Record::Note(NoteRecord { note: Note::Unwound { frame, .. }, .. }) => (*frame, false),
            _ => continue,
        };
        let frame = (record.trace_id(), frame);
        if is_enter {
            open.insert(frame);
        } else {
            open.remove(&frame);
        }
    }
    open.retain(|(trace, _)| active.contains(trace));
    open
}

/// A trace of more than 16,777,216 envs begins to number frames anew.
#[test]
fn what_is_open_is_not_ended_by_the_end_of_another_with_its_number() {
    let directory = Directory::new();
    start("rounds-forked", directory.path(), &[]).ready().kill();
    let mut bytes = directory.bytes();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let pages_at = usize::try_from(word(&bytes, 112)).unwrap();
    let (root, forked) = (1_u64, (1_u64 << 40) | 1);
    let mut renamed = 0;
    for slot in (pages_at..bytes.len()).step_by(64) {
        if word(&bytes, slot) & 15 == 1 && word(&bytes, slot + 32) == forked {
            bytes[slot + 32..slot + 40].copy_from_slice(&root.to_le_bytes());
            renamed += 1;
        }
    }
    assert_eq!(renamed, 2, "the control: its enter and its exit");
    let open: Vec<_> = recover(&bytes).unwrap().open.into_iter().map(|node| node.node).collect();
    assert_eq!(open, ["beside_a_fork"]);
}

/// Whoever takes it on, and however often.
#[test]
fn an_env_is_said_once_more_no_more_than_once_a_page_and_thread() {
    let directory = Directory::new();
    start("rounds-passed-on", directory.path(), &["200"]).ready().kill();
    let bytes = directory.bytes();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let pages_at = usize::try_from(word(112)).unwrap();
    let (mut pages, mut said) = (0, BTreeMap::<(usize, u64), u64>::new());
    for page in (pages_at..bytes.len()).step_by(PAGE_BYTES).filter(|page| word(page + 8) != 0) {
        pages += 1;
        let slots = (0..240).map(|slot| page + 64 + slot * 64);
        slots
            .filter(|slot| word(*slot) & 15 == 11)
            .for_each(|slot| *said.entry((page, word(slot + 16))).or_default() += 1);
    }
    let envs: BTreeSet<_> = said.keys().map(|(_, env)| env).collect();
    assert!(pages > 4 && envs.len() == 6, "the control: they go on for some pages; {pages} {envs:?}");
    assert!(said.values().all(|times| *times == 1), "{said:?}");
}

/// Threads with traces of all kinds, which share pages now and then.
#[test]
fn every_record_that_is_there_is_of_a_trace() {
    let directory = Directory::new();
    start("rounds", directory.path(), &["pages", "100"]).ready().kill();
    let recovered = recover(&directory.bytes()).unwrap();
    assert!(matches!(recovered.gaps[0], Gap::WrittenOver { .. }), "{:?}", recovered.gaps);
    assert!(!recovered.gaps.iter().any(|gap| matches!(gap, Gap::Orphans { .. })), "{:?}", recovered.gaps);
    assert!(recovered.records.len() > 1000);
}
