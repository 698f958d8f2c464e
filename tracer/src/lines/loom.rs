//! Every interleaving of threads at one line: the real lock, mail and rules.
//!
//! A thread that ends a frame, or lets go of a pin, while another one is in the line leaves word. Whatever the order,
//! every word is read, the line is closed, and its trace is over once.

use std::sync::{Arc, Mutex};

use ::loom::thread;

use super::line::{Departure, End};
use super::scope::{Position, Scope};
use super::trace::{Source, Trace};
use crate::id::TraceId;
use crate::record::{ErrorKind, Record};
use crate::recorder::{Detail, Entry, Lane, Recorder, Times};
use crate::site::Site;
use crate::tracer::Tracer;

static SITES: [Site; 3] = [
    Site::new("a", module_path!(), file!(), line!()),
    Site::new("b", module_path!(), file!(), line!()),
    Site::new("c", module_path!(), file!(), line!()),
];

/// Keeps entries, with nothing for the checker to explore.
#[derive(Clone, Default)]
struct List(Arc<Mutex<Vec<Entry>>>);

impl Recorder for List {
    fn lane(&self) -> Box<dyn Lane> {
        Box::new(self.clone())
    }

    fn records(&self, _: Option<TraceId>, _: &Times) -> Vec<Record> {
        Vec::new()
    }

    fn holds(&self, _: TraceId) -> bool {
        true
    }

    fn running(&self) -> Vec<TraceId> {
        Vec::new()
    }

    fn clear(&self) {}

    fn dropped(&self) -> u64 {
        0
    }
}

impl Lane for List {
    fn write(&mut self, entry: &Entry) {
        self.0.lock().unwrap().push(*entry);
    }

    fn write_with(&mut self, entry: &Entry, _: Box<Detail>) {
        self.write(entry);
    }
}

/// A thread's work in a scope of its own. What the scope would share with later runs is not to outlive this one.
fn scoped<T>(work: impl FnOnce(&mut Scope) -> T) -> T {
    let mut scope = Scope::new();
    let output = work(&mut scope);
    std::mem::forget(scope);
    output
}

/// A line with three frames open, each in the one before, and one pin.
fn line(list: &List) -> [Position; 3] {
    scoped(|scope| {
        let tracer = Tracer::builder().recorder(list.clone()).build();
        let trace = Arc::new(Trace::new(tracer, Source::Site(&SITES[0])));
        let cell = scope.begin(Departure::root(trace)).expect("begun");
        let mut at = Position { cell, frame: None };
        let frames = SITES.each_ref().map(|site| {
            at = scope.enter(Some(at), None, site, None).expect("entered").at;
            at
        });
        scope.pin(cell);
        scope.let_go(cell);
        frames
    })
}

/// As a future's drop does it: in the line, if it can be had.
fn end(at: Position, error: Option<ErrorKind>) {
    scoped(|scope| {
        let holds = scope.hold(at.cell) == Some(true);
        scope.end(at, End { error, detail: None });
        if holds {
            scope.let_go(at.cell);
        }
    });
}

fn unpin(at: Position) {
    scoped(|scope| scope.unpin(at.cell));
}

#[track_caller]
fn is_over(list: &List, at: Position, ends: usize) {
    let entries = list.0.lock().unwrap();
    let kinds: Vec<u64> = entries.iter().map(|entry| entry.words()[0] & 0xf).collect();
    // An env, three enters and what they ended in; then nothing but the end of the trace.
    assert_eq!(kinds.len(), 4 + ends + 1, "{entries:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == 4).count(), 1, "over once: {entries:?}");
    assert_eq!(kinds.last(), Some(&4), "at the end: {entries:?}");
    assert!(at.cell.trace().is_none(), "the line is closed");
}

#[test]
fn ends_on_three_threads_are_all_recorded() {
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = List::default();
        let [a, b, c] = line(&list);
        let others = [thread::spawn(move || end(b, None)), thread::spawn(move || unpin(a))];
        end(c, None);
        end(a, None);
        others.into_iter().for_each(|other| other.join().unwrap());
        is_over(&list, a, 3);
    });
}

/// An error that is handled while another thread ends its frame: whichever comes first, the line goes on or ends.
#[test]
fn an_error_beside_an_end_leaves_nothing_open() {
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = List::default();
        let [a, b, c] = line(&list);
        let other = thread::spawn(move || end(c, Some(ErrorKind::Err)));
        end(b, Some(ErrorKind::Cancelled));
        end(a, Some(ErrorKind::Err));
        unpin(a);
        other.join().unwrap();
        is_over(&list, a, 3);
    });
}

/// A call where another thread is finds a line of its own, and the trace is over when both are.
#[test]
fn a_call_beside_an_end_is_part_of_the_trace() {
    let mut model = ::loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = List::default();
        let [a, b, c] = line(&list);
        let other = thread::spawn(move || {
            end(c, None);
            end(b, None);
        });
        scoped(|scope| {
            let opening = scope.enter(Some(a), None, &SITES[1], None).expect("entered");
            scope.end(opening.at, End { error: None, detail: None });
            if opening.holds {
                scope.let_go(opening.at.cell);
            }
        });
        other.join().unwrap();
        end(a, None);
        unpin(a);
        let entries = list.0.lock().unwrap();
        let count = |kind| entries.iter().filter(|entry| entry.words()[0] & 0xf == kind).count();
        assert_eq!((count(1), count(4)), (8, 1), "four calls and one end: {entries:?}");
        assert!((1..=2).contains(&count(2)), "beside it, or in it: {entries:?}");
        assert!(a.cell.trace().is_none());
    });
}
