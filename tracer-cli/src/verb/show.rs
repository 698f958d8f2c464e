//! `tracer show`: one trace, as a tree.

use std::io;

use serde::Serialize;
use serde_json::Value;
use tracer::tree::{Escaped, Nanoseconds, Span, SpanOutcome, Tree};
use tracer::{ErrorRecord, FrameId, Note, TraceId};

use super::{OpenJson, open_line};
use crate::args::Show;
use crate::exit::{Exit, Failure};
use crate::output::{Ink, text};
use crate::select::select;
use crate::session::Session;
use crate::source::{OpenNode, Source};
use crate::traces::{Trace, Traces, state_word};

/// So many open nodes are listed; the tree and JSON have all.
const OPEN_MAX: usize = 20;

pub(crate) fn run(args: &Show, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (mut sources, exit) = session.read();
    let traces = Traces::of(&mut sources);
    if traces.all.is_empty() && exit != Exit::Done {
        // What could not be read was said; that nothing is there would be a guess.
        return Ok(exit);
    }
    let trace = select(&traces, &args.wanted)?;
    let shown = Shown::of(trace, &sources);
    if session.json {
        session.json_line(&TraceJson::of(&shown))?;
    } else {
        write!(session.out, "{}", text::drawing(&format!("{:#}", shown.tree), session.colours))?;
        write_details(session, &shown)?;
    }
    Ok(exit)
}

/// A trace and all that is known of it.
struct Shown<'a> {
    trace: &'a Trace,
    tree: Tree,
    lost_steps: u64,
    open: Vec<OpenNode>,
    sources: Vec<&'a Source>,
}

impl<'a> Shown<'a> {
    fn of(trace: &'a Trace, sources: &'a [Source]) -> Self {
        let tree = trace.tree();
        Self {
            trace,
            lost_steps: trace.stats().lost,
            open: trace.open(&tree, sources),
            sources: trace.sources.iter().map(|nth| &sources[*nth]).collect(),
            tree,
        }
    }
}

fn write_details(session: &mut Session<'_>, shown: &Shown<'_>) -> io::Result<()> {
    writeln!(session.out)?;
    let mut line = |ink: Ink, label: &str, text: &str| {
        let label = session.colours.paint(ink, format!("{label:<8}"));
        writeln!(session.out, "{label}{}", Escaped(text))
    };
    line(Ink::Faint, "began", &text::precise_time(shown.trace.start_ns))?;
    for open in shown.open.iter().take(OPEN_MAX) {
        // Its process may have gone on for longer than its last record shows.
        let least = Some(shown.trace.end_ns.saturating_sub(open.since_ns)).filter(|ns| *ns > 0);
        let least = least.map(|ns| format!(", for at least {}", Nanoseconds(ns))).unwrap_or_default();
        line(Ink::Warn, "open", &format!("{}{least}", open_line(open)))?;
    }
    if let more @ 1.. = shown.open.len().saturating_sub(OPEN_MAX) {
        line(Ink::Warn, "open", &format!("… and {more} more"))?;
    }
    if shown.lost_steps > 0 {
        let text = format!("{} steps that the numbers of its envs leave room for", shown.lost_steps);
        line(Ink::Warn, "missing", &text)?;
    }
    for source in &shown.sources {
        line(Ink::Faint, "file", &format!("{} ({})", source.path.display(), source.format))?;
        if let Some(process) = &source.process {
            line(Ink::Faint, "process", process)?;
        }
        match &source.death {
            Some(death) if source.is_alive => line(Ink::Live, "ended", death)?,
            Some(death) => line(Ink::Warn, "ended", death)?,
            None if !shown.open.is_empty() => {
                let text = "the file does not say whether its process lives, or how it ended";
                line(Ink::Faint, "ended", text)?;
            }
            None => {}
        }
        for gap in &source.gaps {
            line(Ink::Warn, "gap", gap)?;
        }
        line(Ink::Faint, "read", &source.confidence)?;
    }
    Ok(())
}

/// The shape of `--json`.
#[derive(Serialize)]
struct TraceJson<'a> {
    trace_id: TraceId,
    source: &'a str,
    payload: &'a Value,
    state: &'static str,
    start_ns: String,
    end_ns: String,
    duration_ns: u64,
    lost_steps: u64,
    spans: Vec<SpanJson<'a>>,
    violations: &'a [Note],
    open: Vec<OpenJson<'a>>,
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
    result: &'a Value,
    omitted: usize,
}

#[derive(Serialize)]
struct FileJson<'a> {
    file: String,
    format: &'static str,
    process: Option<&'a str>,
    death: Option<&'a str>,
    alive: bool,
    confidence: &'a str,
    gaps: &'a [String],
}

impl<'a> TraceJson<'a> {
    fn of(shown: &'a Shown<'a>) -> Self {
        let Shown { trace, tree, .. } = shown;
        Self {
            trace_id: trace.id,
            source: &tree.source,
            payload: &tree.payload,
            state: state_word(tree.state),
            start_ns: trace.start_ns.to_string(),
            end_ns: trace.end_ns.to_string(),
            duration_ns: tree.duration_ns,
            lost_steps: shown.lost_steps,
            spans: flat(&tree.spans),
            violations: &tree.violations,
            open: shown.open.iter().map(OpenJson::from).collect(),
            files: shown.sources.iter().map(|source| FileJson::of(source)).collect(),
        }
    }
}

impl<'a> FileJson<'a> {
    fn of(source: &'a Source) -> Self {
        Self {
            file: source.path.to_string_lossy().into_owned(),
            format: source.format,
            process: source.process.as_deref(),
            death: source.death.as_deref(),
            alive: source.is_alive,
            confidence: &source.confidence,
            gaps: &source.gaps,
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
            result: &span.result,
            omitted: span.omitted,
        }
    }
}
