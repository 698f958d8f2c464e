//! A program that is stopped between any two of its instructions: what a file says is open is what its steps say,
//! wherever the process dies.

#![expect(unsafe_code, reason = "maps a file that another process writes")]

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::os::fd::AsRawFd;

use tracer::{EnvId, FrameId, Note, Record, Status, TraceId};
use tracer_blackbox::Observed;

use crate::child::{Directory, Recovered, recover_with};
use crate::stepped::{Halt, Stepped};

/// A node that was entered and has not ended: its frame, or by hand its env.
type Open = (TraceId, Option<FrameId>, Option<EnvId>, String);

/// What a file says is open.
fn told(read: &Recovered) -> BTreeSet<Open> {
    let env = |frame: Option<FrameId>, env| if frame.is_none() { Some(env) } else { None };
    let open =
        read.open.iter().map(|node| (node.trace_id, node.frame, env(node.frame, node.env_id), node.node.clone()));
    open.collect()
}

/// What is open by the steps alone, taken one after the other.
fn by_steps(records: &[Record]) -> BTreeSet<Open> {
    let mut open = BTreeSet::new();
    for record in records {
        match record {
            Record::Step(step) => {
                let env = if step.frame.is_none() { Some(step.env_id) } else { None };
                let node = (step.trace_id, step.frame, env, step.node.clone());
                let _changed = if step.status == Status::Enter { open.insert(node) } else { open.remove(&node) };
            }
            Record::Note(note) => {
                if let Note::Unwound { frame, node, .. } = &note.note {
                    open.remove(&(note.trace_id, Some(*frame), None, node.clone()));
                }
            }
            Record::Env(_) => {}
        }
    }
    open
}

/// A file as its process writes it.
struct View {
    bytes: &'static [u8],
    blocks: &'static [u8],
    pages: &'static [u8],
}

const PAGE: usize = 16 << 10;

impl View {
    fn of(file: &File) -> Self {
        let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
        // SAFETY: a new mapping, which is not taken away before the test ends; what changes it is a process that is
        // stopped whenever it is read.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: the mapping is that long.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(at.cast(), len) };
        let region = |at| &bytes[word(bytes, at)..][..word(bytes, at + 8)];
        Self { bytes, blocks: region(96), pages: region(112) }
    }

    /// What changes with each step: the blocks, the heads of the pages, and where each is written to next.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let heads = self.pages.chunks(PAGE).flat_map(|page| {
            let next = 64 + word(page, 0).min(1904) / 8 * 64;
            [&page[..64], &page[next..next + 128]]
        });
        std::iter::once(self.blocks).chain(heads)
    }
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// Goes through a program from where it stops, and compares after each instruction that changed the file.
fn compare(seed: u64, calls_before: u64) -> (usize, usize) {
    let directory = Directory::new();
    let arguments = [seed.to_string(), calls_before.to_string()];
    let mut program = Stepped::start("random", directory.path(), &arguments.each_ref().map(|text| &**text));
    let view = View::of(&File::open(&directory.files()[0]).unwrap());
    let (mut before, mut states, mut most) = (Vec::new(), 0, 0);
    while states < STATES && program.step() == Halt::Done {
        let mut rest = &before[..];
        let is_same = view.parts().all(|part| {
            rest.split_at_checked(part.len()).is_some_and(|(same, others)| {
                rest = others;
                same == part
            })
        });
        if is_same {
            continue;
        }
        before.clear();
        view.parts().for_each(|part| before.extend_from_slice(part));
        let read = recover_with(view.bytes, &Observed::default()).unwrap();
        let entered: HashSet<_> = read.records.iter().filter_map(entered).collect();
        // What was entered before the oldest page began is known from blocks alone.
        let is_forgotten = |node: &Open| node.1.is_some_and(|frame| !entered.contains(&(node.0, frame)));
        let (forgotten, open): (BTreeSet<_>, BTreeSet<_>) = told(&read).into_iter().partition(is_forgotten);
        let forgotten: Vec<_> = forgotten.into_iter().map(|(.., node)| node).collect();
        // Until it is entered anew, after an error, or ends.
        let is_known = calls_before > 0 && !read.records.iter().any(|record| is_of(record, "within"));
        assert_eq!(forgotten, if is_known { &["within"][..] } else { &[] }, "seed {seed}, state {states}");
        assert_eq!(open, by_steps(&read.records), "seed {seed}, state {states}, {}", read.confidence);
        (states, most) = (states + 1, most.max(open.len()));
    }
    (states, most)
}

fn is_of(record: &Record, node: &str) -> bool {
    record.as_step().is_some_and(|step| step.node == node)
}

fn entered(record: &Record) -> Option<(TraceId, FrameId)> {
    let step = record.as_step().filter(|step| step.status == Status::Enter)?;
    Some((step.trace_id, step.frame?))
}

#[test]
fn what_is_open_is_what_the_steps_say_whenever_it_is_killed() {
    for seed in 0..SEEDS {
        let (states, most) = compare(seed, if seed == 1 { 20_000 } else { 0 });
        assert!(states >= STATES_MIN && most > 15, "{states} states, {most} open at most");
    }
}

/// Without optimisation, a call takes ten times as many instructions, at 25 µs each.
const SEEDS: u64 = if cfg!(debug_assertions) { 2 } else { 8 };
/// Files that are looked at.
const STATES: usize = if cfg!(debug_assertions) { STATES_MIN } else { usize::MAX };
const STATES_MIN: usize = if cfg!(debug_assertions) { 400 } else { 600 };
