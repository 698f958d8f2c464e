//! Steps of common calls are written as single words, and the rest is derived when they are read. A recorder that takes
//! entries one by one gets every step in full: both have to say the same of the same program.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tracer::__private::{Failure, Outcome, Recorded, Site, enter, traced, values};
use tracer::test::record_with;
use tracer::{Memory, Record, Tracer};

use crate::random;

/// More nodes than a frame has counts for.
static SITES: [Site; 7] = [
    Site::new("a", "events", file!(), line!()),
    Site::new("b", "events", file!(), line!()),
    Site::new("c", "events", file!(), line!()),
    Site::new("d", "events", file!(), line!()),
    Site::new("e", "events", file!(), line!()),
    Site::new("f", "events", file!(), line!()),
    Site::new("g", "events", file!(), line!()),
];

#[derive(Debug, Clone)]
enum Op {
    Call {
        node: usize,
        times: usize,
        end: End,
        inner: Vec<Op>,
    },
    /// Futures that are made, of which some are polled, the last made first if `backwards`. They wait once, so that all
    /// of them are open at a time. `meanwhile` runs before each round of polls.
    Futures {
        node: usize,
        count: usize,
        polled: usize,
        backwards: bool,
        inner: Vec<Op>,
        meanwhile: Vec<Op>,
    },
}

#[derive(Debug, Clone, Copy)]
enum End {
    Plain,
    /// With a text of this length, at either end.
    Values(usize),
    Error,
}

fn run(ops: &[Op]) {
    for op in ops {
        match op {
            Op::Call { node, times, end, inner } => (0..*times).for_each(|_| call(*node, *end, inner)),
            Op::Futures { node, count, polled, backwards, inner, meanwhile } => {
                let body = || async {
                    run(inner);
                    wait_once().await;
                    run(inner);
                };
                let future = |_| traced(&SITES[*node], None, Recorded::none(), body(), |()| Outcome::ok());
                let mut futures: Vec<_> = (0..*count).map(future).map(Box::pin).collect();
                if *backwards {
                    futures.reverse();
                }
                for is_ready in [false, true] {
                    run(meanwhile);
                    for future in futures.iter_mut().take(*polled) {
                        let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        assert_eq!(poll.is_ready(), is_ready);
                    }
                }
            }
        }
    }
}

fn wait_once() -> impl Future<Output = ()> {
    let mut waited = false;
    poll_fn(move |_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
}

fn call(node: usize, end: End, inner: &[Op]) {
    let site = &SITES[node];
    let taken = || match end {
        End::Values(len) => values(site, |values| values.field("text", &"x".repeat(len))),
        End::Plain | End::Error => Recorded::none(),
    };
    let mut frame = enter(site, None, taken());
    run(inner);
    frame.end(match end {
        End::Plain => Outcome::ok(),
        End::Values(_) => Outcome::ok().with_value(taken()),
        End::Error => Outcome::failed(Failure::default()),
    });
}

/// The place of an id among those that came up.
fn number<T: PartialEq>(known: &mut Vec<T>, id: T) -> usize {
    known.iter().position(|other| *other == id).unwrap_or_else(|| {
        known.push(id);
        known.len() - 1
    })
}

/// What the records say, but for what differs from run to run: ids become numbers in the order they come up.
fn said(records: &[Record]) -> Vec<String> {
    let (mut envs, mut traces) = (Vec::new(), Vec::new());
    let mut last = 0;
    records
        .iter()
        .map(|record| {
            assert!(record.seq() > last, "numbers rise");
            last = record.seq();
            let (trace, env) = (number(&mut traces, record.trace_id()), number(&mut envs, record.env_id()));
            match record {
                Record::Env(of) => format!("{trace} {env} {} {:?} {:?}", of.source, of.cause, of.parent_step),
                Record::Step(step) => format!(
                    "{trace} {env} {} {} {} {:?} {:?} {:?} {} {:?} {}",
                    step.step_id,
                    step.node,
                    step.status,
                    step.frame,
                    step.parent,
                    step.key,
                    step.resumed,
                    step.error.as_ref().map(|error| error.kind),
                    step.values
                ),
                Record::Note(note) => format!("{trace} {env} {} {:?}", note.step_id, note.note),
            }
        })
        .collect()
}

fn both(ops: &[Op]) -> [Vec<String>; 2] {
    let memory = || Memory::new(1 << 28);
    // A tracer with two recorders has no page to write to.
    let in_full = Tracer::builder().recorder(memory()).recorder(memory()).build();
    let as_events = Tracer::builder().recorder(memory()).build();
    [as_events, in_full].map(|tracer| {
        record_with(tracer.clone(), || run(ops));
        said(&tracer.all_traces())
    })
}

fn op() -> impl Strategy<Value = Op> {
    let end = || prop_oneof![6 => Just(End::Plain), 2 => (0..200_usize).prop_map(End::Values), 1 => Just(End::Error)];
    let times = || prop_oneof![9 => 1..4_usize, 1 => 300..1200_usize];
    let leaf =
        (0..SITES.len(), times(), end()).prop_map(|(node, times, end)| Op::Call { node, times, end, inner: vec![] });
    leaf.prop_recursive(4, 24, 5, move |op| {
        let inner = || prop::collection::vec(op.clone(), 0..5);
        let call = (0..SITES.len(), 1..3_usize, end(), inner()).prop_map(|(node, times, end, inner)| Op::Call {
            node,
            times,
            end,
            inner,
        });
        let count = prop_oneof![6 => 1..4_usize, 1 => 90..260_usize];
        let futures = (0..SITES.len(), count, 0..260_usize, any::<bool>(), inner(), inner()).prop_map(
            |(node, count, polled, backwards, inner, meanwhile)| Op::Futures {
                node,
                count,
                polled,
                backwards,
                inner,
                meanwhile,
            },
        );
        prop_oneof![3 => call, 1 => futures]
    })
}

proptest! {
    #![proptest_config(random::config(24, "events"))]

    #[test]
    fn events_say_what_entries_would(ops in prop::collection::vec(op(), 1..6)) {
        // In one trace, as most calls are.
        let ops = [Op::Call { node: 0, times: 1, end: End::Plain, inner: ops }];
        prop_assume!(calls(&ops) < CALLS_MAX);
        let [events, entries] = both(&ops);
        prop_assert_eq!(events, entries);
    }
}

/// More would not find place in the recorder that takes steps in full.
const CALLS_MAX: usize = 100_000;

fn calls(ops: &[Op]) -> usize {
    let of = |op: &Op| match op {
        Op::Call { times, inner, .. } => times * (1 + calls(inner)),
        Op::Futures { count, polled, inner, meanwhile, .. } => {
            count + 3 * polled.min(count) * calls(inner) + 2 * calls(meanwhile)
        }
    };
    ops.iter().map(of).sum()
}

fn leaf(node: usize, times: usize) -> Op {
    Op::Call { node, times, end: End::Plain, inner: Vec::new() }
}

#[track_caller]
fn same(inner: Vec<Op>) {
    let [events, entries] = both(&[Op::Call { node: 0, times: 1, end: End::Plain, inner }]);
    assert_eq!(events.len(), entries.len());
    for (event, entry) in events.iter().zip(&entries) {
        assert_eq!(event, entry);
    }
}

/// The counts of calls lie behind an event's low bits by as many as were made and did not begin.
#[test]
fn calls_that_never_begin_are_counted() {
    for count in [1, 99, 100, 101, 128, 129, 300] {
        for backwards in [false, true] {
            let (inner, meanwhile) = (vec![leaf(2, 1)], Vec::new());
            let futures = |polled| Op::Futures {
                node: 1,
                count,
                polled,
                backwards,
                inner: inner.clone(),
                meanwhile: meanwhile.clone(),
            };
            same(vec![leaf(1, 3), futures(0), leaf(1, 2), futures(1), leaf(1, 1), futures(count), leaf(1, 300)]);
        }
    }
}

/// A call may begin after so many later ones that the low bits of an event would mean one of those.
#[test]
fn calls_that_begin_late_are_told_apart() {
    for times in [1, 99, 100, 101, 127, 128, 129, 300] {
        let meanwhile = vec![leaf(1, times)];
        let late = |count| Op::Futures {
            node: 1,
            count,
            polled: count,
            backwards: false,
            inner: vec![leaf(2, 1)],
            meanwhile: meanwhile.clone(),
        };
        same(vec![leaf(1, 3), late(1), leaf(1, 2), late(3), leaf(1, 300)]);
    }
}

#[test]
fn a_run_goes_on_over_pages() {
    let nested = |inner| Op::Call { node: 1, times: 3, end: End::Values(0), inner };
    same(vec![nested(vec![nested(vec![leaf(2, 3000), leaf(3, 1)]), leaf(4, 2000)])]);
}

/// What is evicted is counted without a look at each step.
#[test]
fn what_a_memory_lost_of_events_is_counted() {
    let tracer = Tracer::builder().recorder(Memory::new(128 * 1024)).build();
    let inner = vec![Op::Call { node: 1, times: 2, end: End::Values(60), inner: vec![leaf(2, 3)] }];
    let trace = [Op::Call { node: 0, times: 1, end: End::Plain, inner }];
    for traces in 1..2000 {
        record_with(tracer.clone(), || run(&trace));
        if traces % 100 == 0 {
            let (held, made) = (tracer.all_traces().len(), traces * (1 + 2 * 9));
            assert_eq!(tracer.stats().dropped + held as u64, made, "{traces} traces");
        }
    }
    assert!(tracer.stats().dropped > 0);
}

/// From what fits into one slot with its event to what takes more than a page.
#[test]
fn values_of_any_length_go_with_their_events() {
    let of_length = |len| Op::Call { node: 1, times: 2, end: End::Values(len), inner: vec![leaf(2, 1)] };
    same((0..260).chain([7000, 15_000, 16_000]).map(of_length).collect());
}

#[test]
fn a_frame_may_call_more_nodes_than_it_counts() {
    same((0..3).flat_map(|_| (1..7).map(|node| leaf(node, 2))).collect());
}

/// Events have the numbers that follow the one of their run header, so a thread that goes on to a block of numbers
/// beyond another thread's has to say so.
#[test]
fn threads_share_no_number() {
    const CALLS: usize = 10_000;
    let tracer = Tracer::builder().recorder(Memory::new(1 << 28)).build();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let ops = [Op::Call { node: 0, times: 1, end: End::Plain, inner: vec![leaf(1, CALLS)] }];
                record_with(tracer.clone(), || run(&ops));
            });
        }
    });
    let mut numbers: Vec<u64> = tracer.all_traces().iter().map(Record::seq).collect();
    let records = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    // An env, and an enter and an exit of each call.
    assert_eq!((numbers.len(), records), (records, 3 * (1 + 2 * (1 + CALLS))));
}
