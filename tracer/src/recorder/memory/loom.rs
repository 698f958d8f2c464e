//! Every interleaving of threads that write, read and clear: the real chunks and the real store, with chunks of four
//! entries.

use std::sync::Arc;

use ::loom::thread;

use super::chunk::Chunk;
use super::store::Store;
use crate::id::{EnvId, FrameId, TraceId};
use crate::record::Cause;
use crate::recorder::{Detail, Entry, EnvEvent, Event, Tag};

fn env(seq: u64) -> (Entry, EnvId) {
    let env = EnvId::new(7).expect("not zero");
    let trace = TraceId::new(9).expect("not zero");
    let event = EnvEvent {
        ticks: 1,
        seq,
        env,
        trace,
        cause: Cause::Root,
        parent: None,
        site: 1,
        fork: 0,
        is_main: true,
        lacks_payload: false,
    };
    (Entry::env(&event), env)
}

fn step(env: EnvId, number: u64) -> Entry {
    let mut entry = Entry::step(env, number, 1, FrameId::new(0, number), None, number, 0, Tag::enter(false));
    entry.number(1, 10 + number);
    entry
}

fn detail(text: &str) -> Box<Detail> {
    Box::new(Detail { node: Some(text.into()), ..Detail::default() })
}

/// What a reader finds is complete, with its detail.
#[test]
fn a_reader_of_a_chunk_finds_whole_entries() {
    ::loom::model(|| {
        let chunk = Arc::new(Chunk::new());
        let (first, id) = env(1);
        let writer = {
            let chunk = chunk.clone();
            thread::spawn(move || {
                chunk.put(&first, Some(detail("first")));
                chunk.put(&step(id, 1), None);
            })
        };
        let entries: Vec<_> = chunk.entries(chunk.places()).into_iter().map(|found| (found.at, found.entry)).collect();
        let whole = [(0, first), (8, step(id, 1))];
        assert_eq!(entries[..], whole[..entries.len()]);
        if !entries.is_empty() {
            assert_eq!(chunk.details().len(), 1, "an entry comes after its detail");
        }
        writer.join().unwrap();
    });
}

/// What is cleared takes no detail of what comes next with it.
#[test]
fn clearing_a_chunk_leaves_the_details_of_what_comes_next() {
    ::loom::model(|| {
        let chunk = Arc::new(Chunk::new());
        let (first, id) = env(1);
        let writer = {
            let chunk = chunk.clone();
            thread::spawn(move || {
                chunk.put(&first, Some(detail("first")));
                chunk.put(&step(id, 1), Some(detail("second")));
            })
        };
        chunk.forget(chunk.len());
        writer.join().unwrap();
        let places: Vec<_> = chunk.entries(chunk.places()).into_iter().map(|found| found.at).collect();
        let details: Vec<_> = chunk.details().iter().map(|(at, _)| *at).collect();
        assert_eq!(places, details);
        let bytes: usize = chunk.details().iter().map(|(_, detail)| detail.size()).sum();
        assert_eq!(chunk.detail_bytes(), bytes);
    });
}

/// An env that goes from one thread to another and back: a reader finds its beginning without a gap.
#[test]
fn a_snapshot_of_an_env_on_two_threads_has_no_gap() {
    ::loom::model(|| {
        let mut store = Store::new(1 << 20);
        let (here, there) = (store.open_chunk(), store.open_chunk());
        // One thread stands for two that hand the env over: the same order, and nothing else to explore.
        let writer = thread::spawn(move || {
            let (first, id) = env(1);
            here.put(&first, None);
            there.put(&step(id, 1), None);
            here.put(&step(id, 2), None);
            there.put(&step(id, 3), None);
        });
        let snapshot = store.snapshot(None);
        let steps: Vec<_> = snapshot.entries().iter().filter_map(|(entry, _)| entry.event()).collect();
        for (event, number) in steps.iter().zip(0..) {
            match event {
                Event::Env(_) => assert_eq!(number, 0),
                Event::Step(step) => assert_eq!(step.step, number, "{steps:?}"),
                other => panic!("{other:?}"),
            }
        }
        writer.join().unwrap();
    });
}

/// The end of a trace may be found before its beginning, which another thread wrote.
#[test]
fn a_trace_that_is_over_is_never_taken_for_running() {
    ::loom::model(|| {
        let mut store = Store::new(1 << 20);
        let (here, there) = (store.open_chunk(), store.open_chunk());
        let writer = thread::spawn(move || {
            let (first, _) = env(1);
            here.put(&first, None);
            there.put(&Entry::over(TraceId::new(9).expect("not zero"), true, 2), None);
        });
        let before = store.running().len();
        assert!(before <= 1);
        writer.join().unwrap();
        assert_eq!(store.running(), []);
    });
}

/// Every record is held or lost, also while writing goes on.
#[test]
fn what_is_written_meanwhile_is_not_counted_as_dropped() {
    ::loom::model(|| {
        let mut store = Store::new(1 << 20);
        let (here, there) = (store.open_chunk(), store.open_chunk());
        let writer = thread::spawn(move || {
            let (first, id) = env(1);
            here.put(&first, None);
            there.put(&step(id, 1), None);
        });
        assert_eq!(store.dropped(), 0);
        writer.join().unwrap();
    });
}
