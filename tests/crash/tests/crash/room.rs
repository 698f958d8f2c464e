//! More than fits: what is open stays known, what is lost is told, the file stays as large as it was.

use serde_json::json;
use tracer::recorder::block::BLOCK_BYTES;
use tracer::recorder::page::PAGE_BYTES;
use tracer::{Status, Tracer};
use tracer_blackbox::{BlackBox, Death, Gap, PagesSeen};

use crate::child::{Directory, recover, start};

#[test]
fn a_box_that_went_round_a_hundred_times_still_shows_what_is_open() {
    let directory = Directory::new();
    // 16 pages of 240 slots; each call takes an enter with its argument, and an exit.
    let calls = 100 * 16 * 240 / 2;
    start("wrap", directory.path(), &[&calls.to_string()]).ready().kill();
    let recovered = directory.recovered();
    let open: Vec<_> = recovered.open.iter().map(|node| &*node.node).collect();
    assert_eq!(open, ["long", "middle"]);
    assert_eq!(recovered.death, Death::Killed);
    let [Gap::WrittenOver { pages }, Gap::Steps { from: 1, to, .. }] = &recovered.gaps[..] else {
        panic!("{:?}", recovered.gaps)
    };
    assert!((1500..1600).contains(pages), "{pages} pages");
    // The newest steps are all there.
    let steps = recovered.records.iter().filter_map(|record| record.as_step());
    let numbers: Vec<u64> = steps.map(|step| step.step_id).collect();
    assert_eq!(numbers, (to + 1..=2 * calls + 2).collect::<Vec<_>>());
    assert!(numbers.len() > 2000);
    assert!(!recovered.confidence.is_damaged, "{}", recovered.confidence);
}

/// Their enters were written over long ago; their frames have the beginning of their values.
#[test]
fn what_is_open_keeps_its_values_when_the_box_went_round() {
    let directory = Directory::new();
    let calls = 100 * 16 * 240 / 2;
    start("wrap-values", directory.path(), &[&calls.to_string()]).ready().kill();
    let recovered = directory.recovered();
    let open: Vec<_> = recovered.open.iter().map(|node| (&*node.node, &node.arguments, node.truncated)).collect();
    let (order, text, count) = (json!({"order": 17}), json!({"text": "more than ha"}), json!({"calls": calls}));
    let expected = [("ordered", &order, false), ("told", &text, true), ("long", &count, false)];
    assert_eq!(open[..3], expected);
    assert_eq!(open[3..], [("middle", &json!(null), false)]);
    let steps = recovered.records.iter().filter_map(|record| record.as_step());
    let written: Vec<_> = steps.filter(|step| step.step_id < 10).map(|step| step.step_id).collect();
    assert_eq!(written, [0_u64; 0], "the control: the enters are gone");
}

/// Their enters are some pages before the newest.
#[test]
fn what_is_open_has_its_values_whole_while_its_enter_is_there() {
    let directory = Directory::new();
    let calls = 5 * 240 / 2;
    start("wrap-values", directory.path(), &[&calls.to_string()]).ready().kill();
    let recovered = directory.recovered();
    let open: Vec<_> = recovered.open.iter().map(|node| (&*node.node, &node.arguments, node.truncated)).collect();
    let (order, count) = (json!({"order": 17}), json!({"calls": calls}));
    let text = json!({"text": "more than has room beside a frame"});
    let expected = [("ordered", &order, false), ("told", &text, false), ("long", &count, false)];
    assert_eq!(open[..3], expected);
    assert_eq!(recovered.gaps, []);
    // Where something else in its page is damaged: the last slot of the oldest, which was left for others and so is sealed.
    let mut bytes = directory.bytes();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let pages = usize::try_from(word(&bytes, 112)).unwrap()..bytes.len();
    let used = pages.step_by(PAGE_BYTES).filter(|page| word(&bytes, *page) > 200 * 8);
    let oldest = used.min_by_key(|page| word(&bytes, page + 8)).unwrap();
    let slots = usize::try_from(word(&bytes, oldest) / 8).unwrap();
    bytes[oldest + slots * 64 + 8] ^= 1;
    let recovered = recover(&bytes).unwrap();
    let open: Vec<_> = recovered.open.iter().map(|node| (&*node.node, &node.arguments, node.truncated)).collect();
    assert_eq!(open[..3], expected);
    assert!(matches!(recovered.gaps[0], Gap::Torn { slots: 1, .. }), "{:?}", recovered.gaps);
}

/// Two lines of calls are at the same place of two traces. Each has written its last step; one of them was killed before
/// its block showed that.
#[test]
fn a_node_that_was_just_entered_with_values_is_open_once() {
    let directory = Directory::new();
    start("twice", directory.path(), &[]).ready().kill();
    let mut bytes = directory.bytes();
    let open = |bytes: &[u8]| {
        let mut open: Vec<_> =
            recover(bytes).unwrap().open.into_iter().map(|open| (open.trace_id, open.node)).collect();
        open.sort();
        open
    };
    let expected = open(&bytes);
    let nodes: Vec<_> = expected.iter().map(|(_, node)| &**node).collect();
    assert_eq!(nodes, ["inner", "outer", "inner", "outer"]);
    let blocks_at = usize::try_from(u64::from_le_bytes(bytes[96..104].try_into().unwrap())).unwrap();
    let depths = (blocks_at..).step_by(BLOCK_BYTES).map(|block| block + 6 * 8);
    let depth = depths.take(8).find(|depth| bytes[*depth] == 2).unwrap();
    bytes[depth] = 1;
    assert_eq!(open(&bytes), expected);
}

/// The control: in a box that is large enough, nothing is missing.
#[test]
fn control_a_box_with_room_keeps_all() {
    let directory = Directory::new();
    start("wrap", directory.path(), &["100"]).ready().kill();
    let recovered = directory.recovered();
    assert_eq!(recovered.gaps, []);
    assert_eq!(recovered.open[0].arguments, json!({"calls": 100}));
}

#[test]
fn ten_thousand_threads_that_come_and_go_leave_a_bounded_file() {
    let directory = Directory::new();
    let mut running = start("threads", directory.path(), &["10000", "4"]);
    let len: u64 = running.line().parse().unwrap();
    running.ready().kill();
    assert!(len < 4 << 20, "{len} bytes");
    let recovered = directory.recovered();
    assert_eq!(recovered.dropped, 0);
    assert_eq!(recovered.open, []);
    // Each thread took three entries, a part of a value and the end of its trace: the newest thousands are there.
    let traces = recovered.records.iter().filter(|record| record.as_env().is_some()).count();
    assert!(traces > 2000, "{traces} traces; {}", recovered.confidence);
    // What is not there is counted: pages of 240 slots, of which each thread took five.
    let Some(Gap::WrittenOver { pages }) = recovered.gaps.first() else { panic!("{:?}", recovered.gaps) };
    let missing = (10_000 - u64::try_from(traces).unwrap()) * 5;
    assert!((missing / 240 - 4..=missing / 240 + 4).contains(pages), "{pages} pages, {missing} slots");
}

/// More threads at once than there are pages: they share what is in reserve, and nothing is dropped.
#[test]
fn more_threads_than_pages_share_some() {
    let directory = Directory::new();
    let mut running = start("threads", directory.path(), &["400", "200"]);
    running.line();
    running.ready().kill();
    let recovered = directory.recovered();
    assert_eq!(recovered.dropped, 0);
    let items = recovered.records.iter().filter_map(|record| record.as_step()).filter(|step| step.node == "item");
    assert_eq!(items.count(), 800, "{}", recovered.confidence);
}

/// Pages begin anew some 800 times meanwhile: the system is asked for nothing. Otherwise it would have killed the process.
#[test]
fn calls_ask_the_system_for_nothing() {
    let directory = Directory::new();
    assert_eq!(start("calls-alone", directory.path(), &["calls"]).line(), "done");
    let directory = Directory::new();
    let control = start("calls-alone", directory.path(), &["sleep"]).line();
    assert_eq!(control, "", "the control: it asked to sleep");
}

/// Who follows a file learns of what came and went between two looks, from the first page on: here the rest of one.
#[test]
fn what_was_written_over_between_two_readings_is_counted() {
    written_over_between_two_readings(|_| {});
}

/// What is brought to the disk is sealed before it is full.
#[test]
fn what_was_written_over_is_counted_where_pages_are_sealed_early() {
    written_over_between_two_readings(|black_box| black_box.sync().unwrap());
}

fn written_over_between_two_readings(before_the_first: impl Fn(&BlackBox)) {
    let directory = Directory::new();
    let black_box = BlackBox::options().bytes(8 * PAGE_BYTES).open(directory.path()).unwrap();
    let tracer = Tracer::builder().recorder(black_box.clone()).build();
    let record = || drop(tracer.create_env((), "test").step("step", Status::Enter, ()).unwrap());
    let newest = || {
        let bytes = directory.bytes();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let pages = (usize::try_from(word(112)).unwrap()..bytes.len()).step_by(PAGE_BYTES);
        pages.map(|page| word(page + 8)).max().unwrap()
    };
    let read = || tracer_blackbox::recover(directory.bytes()).unwrap();
    record();
    // In an empty box, and in one that has gone round.
    for _ in 0..2 {
        before_the_first(&black_box);
        let (first, seen) = (newest(), read().pages_seen());
        assert_eq!(read().pages_missed(&seen), 0);
        let mut missed = 0;
        while missed == 0 {
            record();
            missed = read().pages_missed(&seen);
        }
        // All pages but that one are there.
        assert_eq!((missed, newest() - first), (1, 8));
        while newest() - first < 30 {
            record();
        }
        assert_eq!(read().pages_missed(&seen), 30 - 8 + 1);
        assert_eq!(read().pages_missed(&PagesSeen::default()), first + 30 - 8);
    }
}
