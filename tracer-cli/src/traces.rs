//! Traces over all files: what was read, grouped and ordered.

use std::collections::{HashMap, HashSet};
use std::mem::{self, Discriminant};

use tracer::tree::{Span, SpanOutcome, Tree};
use tracer::{EnvId, ErrorKind, FrameId, Record, Status, Times, TraceId, TraceState};

use crate::source::{OpenNode, Outline, Outlines, Period, Source, Summary, Telling, Writer};

/// Short ids have at least so many digits, and more where fewer are not unique.
const SHORT_LEN_MIN: usize = 6;

/// Of a trace with more records, no more than the newest are drawn.
const DRAWN_MAX: u64 = 10_000;
/// So many.
const NEWEST: u64 = 1_000;

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
    /// A step may still come.
    is_active: bool,
    /// Its process died before it was over.
    is_cut_off: bool,
    /// When it was; `None`: nothing is left of it that has a time.
    pub(crate) period: Option<Period>,
    /// The files, as places in what was read, with what each has of it. At least one.
    parts: Vec<(usize, Summary)>,
}

impl Traces {
    /// A trace that is in several files, such as a black box and what was recovered from it, is there once.
    pub(crate) fn of(sources: &[Source]) -> Self {
        let mut places: HashMap<TraceId, usize> = HashMap::new();
        let mut all: Vec<Trace> = Vec::new();
        for (nth, source) in sources.iter().enumerate() {
            for summary in source.contents.traces() {
                let place = *places.entry(summary.id).or_insert_with(|| {
                    all.push(Trace::new(summary.id));
                    all.len() - 1
                });
                all[place].add(nth, summary);
            }
            for id in source.writers.iter().flat_map(Writer::active) {
                if let Some(place) = places.get(&id) {
                    all[*place].is_active = true;
                }
            }
            for id in source.writers.iter().flat_map(Writer::cut_off) {
                if let Some(place) = places.get(&id) {
                    all[*place].is_cut_off = true;
                }
            }
        }
        all.sort_by_key(|trace| (std::cmp::Reverse(trace.start_ns()), trace.id));
        Self { short_len: short_len(all.iter().map(|trace| trace.id)), all }
    }

    /// The id as far as it tells the trace from all others.
    pub(crate) fn short(&self, trace: &Trace) -> String {
        let mut digits = format!("{:x}", trace.id);
        digits.truncate(self.short_len);
        digits
    }
}

impl Trace {
    fn new(id: TraceId) -> Self {
        Self { id, is_active: false, is_cut_off: false, period: None, parts: Vec::new() }
    }

    fn add(&mut self, source: usize, summary: Summary) {
        self.period = [self.period, summary.period].into_iter().flatten().reduce(Period::with);
        self.parts.push((source, summary));
    }

    /// Unix time of its first record, in nanoseconds.
    pub(crate) fn start_ns(&self) -> Option<u64> {
        self.period.map(|period| period.start_ns)
    }

    /// From its first record to its last.
    pub(crate) fn duration_ns(&self) -> u64 {
        self.period.map_or(0, Period::duration_ns)
    }

    /// The files, as places in what was read.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().map(|(source, _)| *source)
    }

    /// The processes that are told to have written of it, each once.
    pub(crate) fn writers<'a>(&self, sources: &'a [Source]) -> Vec<&'a Writer> {
        let mut seen = HashSet::new();
        let writers = self.sources().filter_map(|nth| sources.get(nth)).flat_map(|source| source.writers_of(self.id));
        writers.filter(|writer| seen.insert(writer.name)).collect()
    }

    /// In the order of their numbers, each once.
    fn records(&self, sources: &[Source]) -> Vec<Record> {
        let parts = self.sources().filter_map(|nth| sources.get(nth)).map(|source| source.contents.trace(self.id));
        let mut records: Vec<Record> = parts.flatten().collect();
        in_order(&mut records);
        if self.parts.len() > 1 {
            each_once(&mut records);
        }
        records
    }

    pub(crate) fn tree(&self, sources: &[Source]) -> Tree {
        self.told(Tree::of_trace(self.id, &self.records(sources), self.is_active), sources)
    }

    /// An index knows the source and the state though the records of its file have no root.
    fn told(&self, mut tree: Tree, sources: &[Source]) -> Tree {
        if let [(nth, summary)] = &self.parts[..] {
            tree.state = summary.state;
            if let Some(outline) = sources[*nth].contents.outlines() {
                tree.source = outline(summary).source;
            }
        }
        tree.state = self.standing(tree.state);
        tree
    }

    /// The tree of its newest records, and how many older ones are not in it; of a short trace, all of it.
    pub(crate) fn newest_tree(&self, sources: &[Source]) -> (Tree, u64) {
        let [(nth, summary)] = &self.parts[..] else { return (self.tree(sources), 0) };
        if summary.records <= DRAWN_MAX {
            return (self.tree(sources), 0);
        }
        let contents = &sources[*nth].contents;
        let mut records = contents.newest(self.id, NEWEST);
        in_order(&mut records);
        let read = records.iter().filter(|record| !is_inferred(record)).count() as u64;
        let mut tree = self.told(Tree::of_trace(self.id, &records, self.is_active), sources);
        tree.duration_ns = self.duration_ns();
        (tree, summary.records.saturating_sub(read))
    }

    /// What is known of it without its records, if it is in one file.
    pub(crate) fn summary(&self, sources: &[Source]) -> Summary {
        let mut summary = match &self.parts[..] {
            [(_, summary)] => summary.clone(),
            [(_, first), ..] => summary(first.place, self.id, &self.records(sources)),
            [] => unreachable!("a trace is made with its first part"),
        };
        summary.state = self.standing(summary.state);
        summary
    }

    /// Between two nodes nothing is open, and the trace is not over: records alone would look as if it had ended well.
    fn standing(&self, by_records: TraceState) -> TraceState {
        match by_records {
            TraceState::Ok | TraceState::Recovered | TraceState::Lost if self.is_active => TraceState::Running,
            TraceState::Ok | TraceState::Recovered if self.is_cut_off => TraceState::Lost,
            other => other,
        }
    }

    /// The latest that is known of it, in Unix nanoseconds: its last record, the last sign of life of a process that wrote
    /// it, or now if one is running.
    pub(crate) fn last_sign_ns(&self, sources: &[Source]) -> u64 {
        let sign = |writer: &Writer| {
            if writer.is_alive { Times::default().now().1 } else { writer.last_sign_ns.unwrap_or(0) }
        };
        let signs = self.writers(sources).into_iter().map(sign);
        signs.chain(self.period.map(|period| period.end_ns)).max().unwrap_or(0)
    }

    /// What is open in it: first what its records say, then what only `sources` say.
    pub(crate) fn open(&self, tree: &Tree, sources: &[Source]) -> Vec<OpenNode> {
        let known = self.sources().filter_map(|nth| sources.get(nth)).flat_map(Source::open);
        with_known(open_spans(tree), known.filter(|open| open.trace_id == self.id))
    }
}

/// What a line on a trace says.
pub(crate) struct Lines<'a> {
    sources: &'a [Source],
    outlines: Vec<Option<Outlines<'a>>>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(sources: &'a [Source]) -> Self {
        Self { sources, outlines: sources.iter().map(|source| source.contents.outlines()).collect() }
    }

    /// Of one; its records are read if no index has it.
    pub(crate) fn of(&self, trace: &Trace) -> (Summary, Outline) {
        let summary = trace.summary(self.sources);
        if let [(nth, _)] = &trace.parts[..]
            && let Some(outline) = &self.outlines[*nth]
        {
            let outline = outline(&summary);
            return (summary, outline);
        }
        let tree = trace.tree(self.sources);
        let telling = match tree.state {
            TraceState::Running | TraceState::Lost => {
                // The last that was entered.
                let open = trace.open(&tree, self.sources).into_iter().max_by_key(|open| open.since_ns);
                open.map(|OpenNode { node, arguments, truncated, .. }| Telling {
                    node,
                    arguments,
                    truncated,
                    error: None,
                })
            }
            _ => telling(&tree).map(|span| Telling {
                node: span.node.clone(),
                arguments: span.arguments.clone(),
                truncated: span.arguments_truncated,
                error: match &span.outcome {
                    SpanOutcome::Failed(error) => Some(error.clone()),
                    _ => None,
                },
            }),
        };
        (summary, Outline { source: tree.source, telling })
    }
}

/// Of the records of one trace, each once.
pub(crate) fn summary(place: usize, id: TraceId, records: &[Record]) -> Summary {
    let state = Tree::of_trace(id, records, false).state;
    let recorded = || records.iter().filter(|record| !is_inferred(record));
    let count = |is_one: fn(&Record) -> bool| recorded().filter(|record| is_one(record)).count() as u64;
    let mut last: HashMap<EnvId, u64> = HashMap::new();
    for step in recorded().filter_map(Record::as_step) {
        let last = last.entry(step.env_id).or_default();
        *last = step.step_id.max(*last);
    }
    let steps = count(|record| record.as_step().is_some());
    // Of what was inferred, the first.
    let since_ns = records.iter().filter(|record| is_inferred(record)).map(Record::ts).min();
    Summary {
        id,
        place,
        state,
        records: count(|_| true),
        envs: count(|record| record.as_env().is_some()),
        steps,
        spans: count(|record| record.as_step().is_some_and(|step| step.status == Status::Enter && !step.resumed)),
        lost_steps: last.values().fold(0, |sum, last| last.saturating_add(sum)).saturating_sub(steps),
        period: Period::of(recorded().map(Record::ts).chain(since_ns)),
    }
}

/// Whether it is no record, but the enter of an open node whose record was written over: it has no numbers.
pub(crate) fn is_inferred(record: &Record) -> bool {
    record.as_step().is_some_and(|step| step.seq == 0 && step.step_id == 0 && step.status == Status::Enter)
}

/// By their numbers: a thread may have written before another what happened after it. What a forked process goes on with
/// comes behind the record of its parent that has the same.
fn in_order(records: &mut [Record]) {
    let when = |record: &Record| if is_inferred(record) { record.ts() } else { 0 };
    records.sort_by_key(|record| (record.seq(), matches!(record, Record::Env(_)), when(record)));
}

/// Takes out of the records of a trace those that are there before. What was inferred of one file may be recorded in
/// another.
pub(crate) fn each_once(records: &mut Vec<Record>) {
    let steps = records.iter().filter(|record| !is_inferred(record)).filter_map(Record::as_step);
    let entered = steps.filter(|step| step.status == Status::Enter).filter_map(|step| step.frame);
    let mut entered: HashSet<_> = entered.collect();
    let mut seen = HashSet::new();
    records.retain(|record| match record.as_step().filter(|_| is_inferred(record)) {
        Some(inferred) => inferred.frame.is_none_or(|frame| entered.insert(frame)),
        None => record.seq() == 0 || seen.insert(RecordKey::of(record)),
    });
}

/// The open nodes of one file.
pub(crate) fn open_in(source: &Source) -> Vec<OpenNode> {
    if source.contents.outlines().is_some() {
        return source.open().cloned().collect();
    }
    let mut open = Vec::new();
    for trace in source.contents.traces() {
        let mut records = source.contents.trace(trace.id);
        in_order(&mut records);
        open.extend(open_spans(&Tree::of_trace(trace.id, &records, false)));
    }
    with_known(open, source.open())
}

fn open_spans(tree: &Tree) -> Vec<OpenNode> {
    let spans = tree.spans.iter().flat_map(Span::walk).filter(|span| span.outcome == SpanOutcome::Open);
    let open = spans.map(|span| OpenNode {
        trace_id: tree.trace_id,
        frame: span.frame,
        node: span.node.clone(),
        since_ns: span.start_ns,
        arguments: span.arguments.clone(),
        truncated: span.arguments_truncated,
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
pub(crate) struct RecordKey(TraceId, EnvId, Option<u64>, Discriminant<Record>, Option<FrameId>);

impl RecordKey {
    pub(crate) fn of(record: &Record) -> Self {
        // An env has one record of its own. In a forked process, the number of that goes by what is left of the others.
        let seq = record.as_env().is_none().then(|| record.seq());
        // What was inferred has no number.
        let frame = record.as_step().filter(|_| is_inferred(record)).and_then(|step| step.frame);
        Self(record.trace_id(), record.env_id(), seq, mem::discriminant(record), frame)
    }
}

fn short_len(ids: impl Iterator<Item = TraceId>) -> usize {
    let mut ids: Vec<_> = ids.map(TraceId::get).collect();
    ids.sort_unstable();
    // A digit has four bits.
    let common = |pair: &[u128]| (pair[0] ^ pair[1]).leading_zeros() as usize / 4;
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
/// Of a failed trace, the one whose error ended it, and of a panic that came out of another env, which has its text, the one
/// there; of one with open nodes, the innermost that was entered last; of one
/// that recovered, the first that failed.
fn telling(tree: &Tree) -> Option<&Span> {
    let end = |span: &Span| span.start_ns.saturating_add(span.duration_ns.unwrap_or(0));
    let all = || tree.spans.iter().flat_map(Span::walk);
    let failed = |span: &&Span| matches!(span.outcome, SpanOutcome::Failed(_));
    match tree.state {
        TraceState::Failed => {
            let is_panic = |span: &Span, has_text: bool| {
                matches!(&span.outcome, SpanOutcome::Failed(error)
                    if error.kind == ErrorKind::Panic && error.message.is_some() == has_text)
            };
            let mut found: Option<&Span> = None;
            let mut level: &[Span] = &tree.spans;
            // Down the way that the error came up.
            while let Some(span) = level
                .iter()
                .filter(|span| matches!(span.outcome, SpanOutcome::Failed(_) | SpanOutcome::Unwound))
                .max_by_key(|span| end(span))
            {
                if !found.is_some_and(|found| failed(&found)) || is_panic(span, true) {
                    found = Some(span);
                }
                level = if failed(&span) && !is_panic(span, false) { &[] } else { &span.children };
            }
            found.filter(failed).or_else(|| all().filter(failed).max_by_key(|span| end(span)))
        }
        TraceState::Running | TraceState::Lost => {
            all().filter(|span| span.outcome == SpanOutcome::Open).max_by_key(|span| span.start_ns)
        }
        _ => all().filter(failed).min_by_key(|span| end(span)),
    }
}
