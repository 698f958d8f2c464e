//! Traces over all files: what was read, grouped and ordered.

use std::collections::{HashMap, HashSet};
use std::mem::{self, Discriminant};

use tracer::tree::{Span, SpanOutcome, Tree};
use tracer::{EnvId, Record, Times, TraceId, TraceState, TraceStats};

use crate::source::{OpenNode, Source};

/// Short ids have at least so many digits, and more where fewer are not unique.
const SHORT_LEN_MIN: usize = 6;

/// All traces.
pub(crate) struct Traces {
    /// Newest first: by the time of their first records.
    pub(crate) all: Vec<Trace>,
    /// So many hex digits tell any two of them apart.
    pub(crate) short_len: usize,
}

/// One trace, from whatever files its records are in.
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    /// In the order of their numbers, each once. At least one.
    records: Vec<Record>,
    /// A step may still come.
    is_active: bool,
    /// Its process died before it was over.
    is_cut_off: bool,
    /// Unix time of the first record, in nanoseconds.
    pub(crate) start_ns: u64,
    /// Unix time of the last record, in nanoseconds.
    pub(crate) end_ns: u64,
    /// The files, as places in what was read.
    pub(crate) sources: Vec<usize>,
}

impl Traces {
    /// Takes the records out of `sources`.
    ///
    /// A record that is in several files, such as a black box and what was recovered from it, counts once.
    pub(crate) fn of(sources: &mut [Source]) -> Self {
        let mut places: HashMap<TraceId, usize> = HashMap::new();
        let mut seen = HashSet::new();
        let mut all: Vec<Trace> = Vec::new();
        for (nth, source) in sources.iter_mut().enumerate() {
            for record in mem::take(&mut source.records) {
                let trace = trace(&mut all, &mut places, &record, nth);
                if seen.insert(RecordKey::of(&record)) {
                    trace.records.push(record);
                }
            }
            for record in mem::take(&mut source.inferred) {
                let trace = trace(&mut all, &mut places, &record, nth);
                trace.records.push(record);
            }
            for id in &source.active {
                if let Some(place) = places.get(id) {
                    all[*place].is_active = true;
                }
            }
            for id in &source.cut_off {
                if let Some(place) = places.get(id) {
                    all[*place].is_cut_off = true;
                }
            }
        }
        for trace in &mut all {
            in_order(&mut trace.records);
            let times = || trace.records.iter().map(Record::ts);
            (trace.start_ns, trace.end_ns) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        }
        all.sort_by_key(|trace| (std::cmp::Reverse(trace.start_ns), trace.id));
        Self { short_len: short_len(all.iter().map(|trace| trace.id)), all }
    }

    /// The id as far as it tells the trace from all others.
    pub(crate) fn short(&self, trace: &Trace) -> String {
        let mut digits = format!("{:x}", trace.id);
        digits.truncate(self.short_len);
        digits
    }
}

/// The trace of a record from the `nth` source.
fn trace<'a>(
    all: &'a mut Vec<Trace>,
    places: &mut HashMap<TraceId, usize>,
    record: &Record,
    nth: usize,
) -> &'a mut Trace {
    let id = record.trace_id();
    let place = *places.entry(id).or_insert_with(|| {
        all.push(Trace::new(id));
        all.len() - 1
    });
    let trace = &mut all[place];
    if trace.sources.last() != Some(&nth) {
        trace.sources.push(nth);
    }
    trace
}

impl Trace {
    fn new(id: TraceId) -> Self {
        Self {
            id,
            records: Vec::new(),
            is_active: false,
            is_cut_off: false,
            start_ns: 0,
            end_ns: 0,
            sources: Vec::new(),
        }
    }

    fn active(&self) -> &[TraceId] {
        if self.is_active { std::slice::from_ref(&self.id) } else { &[] }
    }

    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::of(&self.records, self.active()).pop().expect("a trace has a record");
        tree.state = self.standing(tree.state);
        tree
    }

    pub(crate) fn stats(&self) -> TraceStats {
        let mut stats = TraceStats::of(&self.records, self.active()).pop().expect("a trace has a record");
        stats.state = self.standing(stats.state);
        stats
    }

    /// Between two nodes nothing is open, and the trace is not over: records alone would look as if it had ended well.
    fn standing(&self, by_records: TraceState) -> TraceState {
        match by_records {
            TraceState::Ok | TraceState::Recovered if self.is_cut_off && !self.is_active => TraceState::Lost,
            other => other,
        }
    }

    /// The latest that is known of it, in Unix nanoseconds: its last record, the last sign of life of a process that wrote
    /// it, or now if one is running.
    pub(crate) fn last_sign_ns(&self, sources: &[Source]) -> u64 {
        let own = self.sources.iter().filter_map(|nth| sources.get(*nth));
        let signs =
            own.map(|source| if source.is_alive { Times::default().now().1 } else { source.last_sign_ns.unwrap_or(0) });
        signs.max().unwrap_or(0).max(self.end_ns)
    }

    /// What is open in it: first what its records say, then what only `sources` say.
    pub(crate) fn open(&self, tree: &Tree, sources: &[Source]) -> Vec<OpenNode> {
        let known = self.sources.iter().filter_map(|nth| sources.get(*nth)).flat_map(|source| &source.open);
        with_known(open_spans(tree), known.filter(|open| open.trace_id == self.id))
    }
}

/// By their numbers: a thread may have written before another what happened after it.
pub(crate) fn in_order(records: &mut [Record]) {
    records.sort_by_key(Record::seq);
}

/// The open nodes of one file; its records are put in order.
pub(crate) fn open_in(source: &mut Source) -> Vec<OpenNode> {
    in_order(&mut source.records);
    let trees = Tree::of(&source.records, &source.active);
    with_known(trees.iter().flat_map(open_spans).collect(), source.open.iter())
}

fn open_spans(tree: &Tree) -> Vec<OpenNode> {
    let spans = tree.spans.iter().flat_map(Span::walk).filter(|span| span.outcome == SpanOutcome::Open);
    let open = spans.map(|span| OpenNode {
        trace_id: tree.trace_id,
        frame: span.frame,
        node: span.node.clone(),
        since_ns: span.start_ns,
        arguments: span.arguments.clone(),
    });
    open.collect()
}

fn with_known<'a>(mut open: Vec<OpenNode>, known: impl Iterator<Item = &'a OpenNode>) -> Vec<OpenNode> {
    // A frame that goes on after an error was handled is entered again: its records know since when it is open.
    let key = |open: &OpenNode| {
        let since_ns = if open.frame.is_some() { 0 } else { open.since_ns };
        (open.trace_id, open.frame, open.node.clone(), since_ns)
    };
    let mut seen: HashSet<_> = open.iter().map(key).collect();
    open.extend(known.filter(|one| seen.insert(key(one))).cloned());
    open
}

/// Tells records apart, in whatever file they are.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct RecordKey(TraceId, EnvId, u64, Discriminant<Record>);

impl RecordKey {
    pub(crate) fn of(record: &Record) -> Self {
        Self(record.trace_id(), record.env_id(), record.seq(), mem::discriminant(record))
    }
}

fn short_len(ids: impl Iterator<Item = TraceId>) -> usize {
    let mut ids: Vec<_> = ids.map(|id| format!("{id:x}")).collect();
    ids.sort_unstable();
    let common = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(one, other)| one == other).count();
    ids.windows(2).map(|pair| common(pair) + 1).fold(SHORT_LEN_MIN, usize::max)
}

/// How it stands, in one word.
pub(crate) fn state_word(state: TraceState) -> &'static str {
    match state {
        TraceState::Running => "running",
        TraceState::Ok => "ok",
        TraceState::Recovered => "recovered",
        TraceState::Failed => "failed",
        TraceState::Lost => "lost",
        _ => "unknown",
    }
}

/// It did not end well: an error ended it, or its process did.
pub(crate) fn is_bad(state: TraceState) -> bool {
    matches!(state, TraceState::Failed | TraceState::Lost)
}

/// The span that says most about how a trace ended.
///
/// Of a failed trace, the one whose error ended it; of one with open nodes, the innermost that was entered last; of one
/// that recovered, the first that failed.
pub(crate) fn telling(tree: &Tree) -> Option<&Span> {
    let end = |span: &Span| span.start_ns.saturating_add(span.duration_ns.unwrap_or(0));
    let all = || tree.spans.iter().flat_map(Span::walk);
    let failed = |span: &&Span| matches!(span.outcome, SpanOutcome::Failed(_));
    match tree.state {
        TraceState::Failed => {
            let mut found = None;
            let mut level: &[Span] = &tree.spans;
            // Down the way that the error came up.
            while let Some(span) = level
                .iter()
                .filter(|span| matches!(span.outcome, SpanOutcome::Failed(_) | SpanOutcome::Unwound))
                .max_by_key(|span| end(span))
            {
                found = Some(span);
                level = if failed(&span) { &[] } else { &span.children };
            }
            found.filter(failed).or_else(|| all().filter(failed).max_by_key(|span| end(span)))
        }
        TraceState::Running | TraceState::Lost => {
            all().filter(|span| span.outcome == SpanOutcome::Open).max_by_key(|span| span.start_ns)
        }
        _ => all().filter(failed).min_by_key(|span| end(span)),
    }
}
