//! `tracer show`: one trace, as a tree.

use std::collections::HashSet;
use std::io;

use serde::Serialize;
use serde_json::Value;
use tracer::tree::{Escaped, Nanoseconds, Span, SpanOutcome, Tree};
use tracer::{ErrorRecord, FrameId, Note, TraceId};

use super::{NO_RECORD, OpenJson, WriterJson, open_call, writer_line};
use crate::args::Show;
use crate::exit::{Exit, Failure};
use crate::output::{Ink, text};
use crate::select::select;
use crate::session::Session;
use crate::source::{Gap, OpenNode, Source, Writer};
use crate::traces::{Trace, Traces, state_word};

/// So many open nodes, other traces and gaps are listed; JSON has all.
const LISTED_MAX: usize = 20;

/// Of more calls side by side, no more than so many that ended well are drawn.
const SIDE_BY_SIDE_MAX: usize = 40;

pub(crate) fn run(args: &Show, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (sources, exit) = session.read();
    let traces = Traces::of(&sources);
    if traces.all.is_empty() && exit != Exit::Done {
        // What could not be read was said; that nothing is there would be a guess.
        return Ok(exit);
    }
    let trace = select(&traces, &sources, &args.wanted)?;
    let shown = Shown::of(trace, &traces, &sources, args.all || session.json);
    if session.json {
        session.json_line(&TraceJson::of(&shown))?;
    } else {
        write!(session.out, "{}", text::drawing(&format!("{:#}", shown.tree), session.colours))?;
        write_details(session, &shown, &sources)?;
    }
    Ok(exit)
}

/// A trace and all that is known of it.
struct Shown<'a> {
    trace: &'a Trace,
    tree: Tree,
    /// Older records that are not in the tree, and calls that were taken out of it.
    left_out: (u64, usize),
    lost_steps: u64,
    open: Vec<OpenNode>,
    sources: Vec<&'a Source>,
    writers: Vec<&'a Writer>,
    beside: Vec<Beside<'a>>,
}

/// Another trace of the same processes of which something is open: what else they were at.
struct Beside<'a> {
    trace: &'a Trace,
    short: String,
    tree: Tree,
    open: Vec<OpenNode>,
    /// The latest that is known of its processes.
    end_ns: u64,
}

impl<'a> Shown<'a> {
    fn of(trace: &'a Trace, traces: &'a Traces, sources: &'a [Source], all: bool) -> Self {
        let (mut tree, older) = if all { (trace.tree(sources), 0) } else { trace.newest_tree(sources) };
        let open = trace.open(&tree, sources);
        let folded = if all { 0 } else { fold(&mut tree.spans) };
        let own: Vec<_> = trace.sources().map(|nth| &sources[nth]).collect();
        let writers = trace.writers(sources);
        let open_there: HashSet<_> = writers.iter().flat_map(|of| &of.open).map(|open| open.trace_id).collect();
        let others = traces.all.iter().filter(|other| other.id != trace.id && open_there.contains(&other.id));
        let beside = others.map(|other| {
            let (tree, _) = other.newest_tree(sources);
            let open = other.open(&tree, sources);
            Beside { trace: other, short: traces.short(other), tree, open, end_ns: other.last_sign_ns(sources) }
        });
        Self {
            trace,
            lost_steps: trace.summary(sources).lost_steps,
            left_out: (older, folded),
            open,
            beside: beside.collect(),
            sources: own,
            writers,
            tree,
        }
    }

    /// Where records of it are missing, or may be.
    fn gaps(&self) -> Vec<&'a Gap> {
        let gaps = self.writers.iter().flat_map(|writer| &writer.gaps);
        gaps.filter(|gap| gap.of.is_none_or(|of| of == self.trace.id)).collect()
    }
}

/// Takes out of a tree what is like the rest: of many calls side by side, those in the middle that ended well. Gives how
/// many calls are gone.
fn fold(spans: &mut Vec<Span>) -> usize {
    let (mut folded, mut place) = (0, 0);
    let (first, last) = (SIDE_BY_SIDE_MAX / 2, spans.len().saturating_sub(SIDE_BY_SIDE_MAX / 2));
    let mut failed = 0;
    spans.retain(|span| {
        let is_at_an_end = place < first || place >= last;
        place += 1;
        let is_kept = is_at_an_end
            || match span.outcome {
                SpanOutcome::Open => true,
                SpanOutcome::Ok => false,
                _ => {
                    failed += 1;
                    failed <= SIDE_BY_SIDE_MAX
                }
            };
        if !is_kept {
            folded += span.walk().iter().map(|span| 1 + span.omitted).sum::<usize>();
        }
        is_kept
    });
    for span in spans {
        let below = fold(&mut span.children);
        span.omitted += below;
        folded += below;
    }
    folded
}

fn left_out_text((older, folded): (u64, usize)) -> Option<String> {
    let older = Some(older).filter(|older| *older > 0).map(|older| text::count(older, "older record"));
    let folded = Some(folded).filter(|folded| *folded > 0).map(|folded| text::count(folded, "call"));
    let parts: Vec<_> = older.into_iter().chain(folded).collect();
    (!parts.is_empty()).then(|| format!("{} not drawn; `--all` draws them", parts.join(" and ")))
}

/// What is beside the tree, the most telling last: that is what a terminal shows above the next prompt.
fn write_details(session: &mut Session<'_>, shown: &Shown<'_>, sources: &[Source]) -> io::Result<()> {
    writeln!(session.out)?;
    let mut line = |ink: Ink, label: &str, text: &str| {
        let label = session.colours.paint(ink, format!("{label:<8}"));
        writeln!(session.out, "{label}{}", Escaped(text))
    };
    let began = shown.trace.start_ns().map_or_else(|| text::UNKNOWN.to_owned(), text::precise_time);
    line(Ink::Faint, "began", &began)?;
    for source in &shown.sources {
        line(Ink::Faint, "file", &format!("{} ({})", source.path.display(), source.format))?;
        line(Ink::Faint, "read", &source.confidence)?;
    }
    if let Some(text) = left_out_text(shown.left_out) {
        line(Ink::Warn, "cut", &text)?;
    }
    let gaps = shown.gaps();
    for gap in gaps.iter().take(LISTED_MAX) {
        line(Ink::Warn, "gap", &gap.text)?;
    }
    more(&mut line, "gap", gaps.len())?;
    if shown.trace.period.is_none() {
        line(Ink::Warn, "missing", NO_RECORD)?;
    }
    if shown.lost_steps > 0 {
        let text = format!("{} steps that the numbers of its envs leave room for", shown.lost_steps);
        line(Ink::Warn, "missing", &text)?;
    }
    for writer in &shown.writers {
        line(if writer.is_alive { Ink::Live } else { Ink::Warn }, "process", &writer_line(writer))?;
    }
    let is_silent = |source: &&&Source| source.writers.is_empty() || shown.writers.is_empty();
    for _ in shown.sources.iter().filter(is_silent).filter(|_| !shown.open.is_empty()) {
        line(Ink::Faint, "process", "the file does not say whether its process lives, or how it ended")?;
    }
    let end = End { last_ns: shown.trace.last_sign_ns(sources), is_alive: shown.writers.iter().any(|of| of.is_alive) };
    if let (Some(sign), false) = (shown.writers.iter().filter_map(|of| of.last_sign_ns).max(), end.is_alive) {
        line(Ink::Faint, "alive", &format!("until {}, if not for longer", text::precise_time(sign)))?;
    }
    // What it was at is at the end.
    let between = shown.open.len().saturating_sub(LISTED_MAX);
    for (nth, open) in shown.open.iter().enumerate() {
        if between > 0 && nth == LISTED_MAX / 2 {
            line(Ink::Plain, "", &format!("… and {between} between"))?;
        }
        if (LISTED_MAX / 2..LISTED_MAX / 2 + between).contains(&nth) {
            continue;
        }
        let call = open_call(open);
        let start_ns = shown.trace.start_ns().unwrap_or(open.since_ns);
        let entered = Nanoseconds(open.since_ns.saturating_sub(start_ns));
        line(Ink::Warn, "open", &format!("{call}, entered after {entered}, {}", end.after(open.since_ns)))?;
    }
    for beside in shown.beside.iter().take(LISTED_MAX) {
        let end = End { last_ns: beside.end_ns, ..end };
        let outermost = beside.open.iter().min_by_key(|open| open.since_ns);
        let started = match outermost.filter(|_| beside.tree.source.is_empty()) {
            // The record that has its source was written over.
            Some(open) => open_call(open),
            None => {
                text::call(&beside.tree.source, &beside.tree.payload) + text::cut_mark(beside.tree.payload_truncated)
            }
        };
        let since = outermost.map(|open| open.since_ns).or(beside.trace.start_ns()).unwrap_or(end.last_ns);
        line(Ink::Warn, "beside", &format!("{} {started}, {}", beside.short, end.after(since)))?;
        for path in open_paths(&beside.tree) {
            line(Ink::Plain, "", &format!("… {path}"))?;
        }
    }
    more(&mut line, "beside", shown.beside.len())
}

fn more(line: &mut impl FnMut(Ink, &str, &str) -> io::Result<()>, label: &str, count: usize) -> io::Result<()> {
    match count.saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => line(Ink::Warn, label, &format!("… and {more} more; `--json` has all")),
    }
}

/// The end of a trace as far as it is known.
#[derive(Clone, Copy)]
struct End {
    /// Unix time of the last sign of it, in nanoseconds.
    last_ns: u64,
    /// There is none yet.
    is_alive: bool,
}

impl End {
    /// How long what was entered at `since_ns` had been open.
    fn after(self, since_ns: u64) -> String {
        match self.last_ns.saturating_sub(since_ns) {
            ns if self.is_alive => format!("open for {} so far", Nanoseconds(ns)),
            0 => "the last that was recorded".to_owned(),
            // Its process may have gone on for longer than anything shows.
            ns => format!("open for at least {}", Nanoseconds(ns)),
        }
    }
}

/// The innermost open nodes, each behind those that called it: `handle > send(topic="sales")`.
fn open_paths(tree: &Tree) -> Vec<String> {
    let is_open = |span: &&Span| span.outcome == SpanOutcome::Open;
    let mut paths = Vec::new();
    let mut todo: Vec<_> = tree.spans.iter().rev().filter(is_open).map(|span| (String::new(), span)).collect();
    while let Some((before, span)) = todo.pop() {
        let call = text::call(&span.node, &span.arguments);
        let path = format!("{before}{call}{}", text::cut_mark(span.arguments_truncated));
        let children: Vec<_> = span.children.iter().rev().filter(is_open).collect();
        if children.is_empty() {
            paths.push(path);
        } else {
            todo.extend(children.into_iter().map(|child| (format!("{path} > "), child)));
        }
    }
    paths
}

/// The shape of `--json`.
#[derive(Serialize)]
struct TraceJson<'a> {
    trace_id: TraceId,
    source: &'a str,
    payload: &'a Value,
    payload_truncated: bool,
    state: &'static str,
    start_ns: Option<String>,
    end_ns: Option<String>,
    duration_ns: u64,
    lost_steps: u64,
    spans: Vec<SpanJson<'a>>,
    violations: &'a [Note],
    open: Vec<OpenJson<'a>>,
    beside: Vec<OpenJson<'a>>,
    files: Vec<FileJson<'a>>,
}

/// A span, flat: readers of JSON give up at depths that recursion reaches.
#[derive(Serialize)]
struct SpanJson<'a> {
    parent: Option<usize>,
    depth: usize,
    node: &'a str,
    frame: Option<FrameId>,
    key: Option<&'a str>,
    start_ns: String,
    duration_ns: Option<u64>,
    outcome: &'static str,
    error: Option<&'a ErrorRecord>,
    arguments: &'a Value,
    arguments_truncated: bool,
    result: &'a Value,
    result_truncated: bool,
    omitted: usize,
}

#[derive(Serialize)]
struct FileJson<'a> {
    file: String,
    format: &'static str,
    #[serde(flatten)]
    process: WriterJson<'a>,
    last_sign_ns: Option<String>,
    confidence: &'a str,
    gaps: Vec<&'a Gap>,
}

impl<'a> TraceJson<'a> {
    fn of(shown: &'a Shown<'a>) -> Self {
        let Shown { trace, tree, .. } = shown;
        Self {
            trace_id: trace.id,
            source: &tree.source,
            payload: &tree.payload,
            payload_truncated: tree.payload_truncated,
            state: state_word(tree.state),
            start_ns: trace.period.map(|period| period.start_ns.to_string()),
            end_ns: trace.period.map(|period| period.end_ns.to_string()),
            duration_ns: tree.duration_ns,
            lost_steps: shown.lost_steps,
            spans: flat(&tree.spans),
            violations: &tree.violations,
            open: shown.open.iter().map(OpenJson::from).collect(),
            beside: shown.beside.iter().flat_map(|beside| &beside.open).map(OpenJson::from).collect(),
            files: shown.sources.iter().flat_map(|source| FileJson::of_each(source, trace.id)).collect(),
        }
    }
}

impl<'a> FileJson<'a> {
    /// One for each process that wrote of the trace, or one of none.
    fn of_each(source: &'a Source, trace: TraceId) -> Vec<Self> {
        let writers: Vec<_> = source.writers_of(trace).collect();
        if writers.is_empty() {
            vec![Self::of(source, None)]
        } else {
            writers.into_iter().map(|writer| Self::of(source, Some(writer))).collect()
        }
    }

    fn of(source: &'a Source, writer: Option<&'a Writer>) -> Self {
        Self {
            file: source.path.to_string_lossy().into_owned(),
            format: source.format,
            process: writer.map(WriterJson::from).unwrap_or_default(),
            last_sign_ns: writer.and_then(|writer| writer.last_sign_ns).map(|ns| ns.to_string()),
            confidence: &source.confidence,
            gaps: writer.map(|writer| writer.gaps.iter().collect()).unwrap_or_default(),
        }
    }
}

fn flat(spans: &[Span]) -> Vec<SpanJson<'_>> {
    let mut found: Vec<SpanJson<'_>> = Vec::new();
    let mut todo: Vec<_> = spans.iter().rev().map(|span| (None, span)).collect();
    while let Some((parent, span)) = todo.pop() {
        let place = found.len();
        let depth = parent.map_or(0, |parent: usize| found[parent].depth + 1);
        found.push(SpanJson::of(span, parent, depth));
        todo.extend(span.children.iter().rev().map(|child| (Some(place), child)));
    }
    found
}

impl<'a> SpanJson<'a> {
    fn of(span: &'a Span, parent: Option<usize>, depth: usize) -> Self {
        let (outcome, error) = match &span.outcome {
            SpanOutcome::Ok => ("ok", None),
            SpanOutcome::Failed(error) => ("failed", Some(error)),
            SpanOutcome::Unwound => ("unwound", None),
            SpanOutcome::Open => ("open", None),
            _ => ("unknown", None),
        };
        Self {
            parent,
            depth,
            node: &span.node,
            frame: span.frame,
            key: span.key.as_deref(),
            start_ns: span.start_ns.to_string(),
            duration_ns: span.duration_ns,
            outcome,
            error,
            arguments: &span.arguments,
            arguments_truncated: span.arguments_truncated,
            result: &span.result,
            result_truncated: span.result_truncated,
            omitted: span.omitted,
        }
    }
}
