//! `tracer ls`: traces, one a line.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use tracer::tree::{Escaped, Nanoseconds, Span, SpanOutcome, Tree};
use tracer::{ErrorRecord, TraceId};

use crate::args::Ls;
use crate::exit::{Exit, Failure};
use crate::output::{Colours, Ink, text};
use crate::session::Session;
use crate::source::Source;
use crate::traces::{Trace, Traces, is_bad, state_word, telling};

pub(crate) fn run(args: &Ls, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (mut sources, exit) = session.read();
    let traces = Traces::of(&mut sources);
    let wanted = traces.all.iter().map(|trace| (trace, trace.tree())).filter(|(_, tree)| is_wanted(args, tree));
    let listed: Vec<_> = wanted.take(args.limit.unwrap_or(usize::MAX)).collect();
    if session.json {
        for (trace, tree) in &listed {
            session.json_line(&TraceJson::of(trace, tree, &traces, &sources))?;
        }
    } else {
        write_lines(session, &traces, &listed)?;
    }
    if listed.is_empty() && exit == Exit::Done {
        session.messages.note(match traces.all.len() {
            0 => format!("no traces in {}", session.shown_places()),
            some => format!("none of {} is like that", text::count(some, "trace")),
        });
        return Ok(Exit::Nothing);
    }
    Ok(exit)
}

fn is_wanted(args: &Ls, tree: &Tree) -> bool {
    (!args.failed || is_bad(tree.state)) && args.source.as_ref().is_none_or(|part| tree.source.contains(part.as_str()))
}

fn write_lines(session: &mut Session<'_>, traces: &Traces, listed: &[(&Trace, Tree)]) -> io::Result<()> {
    let source = |tree: &Tree| text::cut(&Escaped(&tree.source).to_string(), 40);
    let source_len = listed.iter().map(|(_, tree)| source(tree).chars().count()).max().unwrap_or(0);
    for (trace, tree) in listed {
        let line = Line { id: &traces.short(trace), source: &source(tree), source_len, start_ns: trace.start_ns, tree };
        writeln!(session.out, "{}", line.text(session.colours))?;
    }
    Ok(())
}

/// What a line is made of.
struct Line<'a> {
    id: &'a str,
    source: &'a str,
    /// Of the longest source.
    source_len: usize,
    start_ns: u64,
    tree: &'a Tree,
}

impl Line<'_> {
    fn text(&self, colours: Colours) -> String {
        let Self { id, source, source_len, start_ns, tree } = self;
        let when = colours.paint(Ink::Faint, text::time(*start_ns));
        let state = colours.paint(text::state_ink(tree.state), format!("{:<9}", state_word(tree.state)));
        let duration = Nanoseconds(tree.duration_ns).to_string();
        let spans = text::count(span_count(tree), "span");
        let mut line = format!("{id}  {when}  {source:<source_len$}  {state}  {duration:>7}  {spans:>8}");
        if let Some(span) = telling(tree) {
            let _infallible = write!(line, "  {}", text::telling(span, colours));
        }
        line
    }
}

fn span_count(tree: &Tree) -> usize {
    tree.spans.iter().flat_map(Span::walk).map(|span| 1 + span.omitted).sum()
}

/// The shape of `--json`.
#[derive(Serialize)]
struct TraceJson<'a> {
    trace_id: TraceId,
    short: String,
    source: &'a str,
    start_ns: String,
    end_ns: String,
    state: &'static str,
    duration_ns: u64,
    spans: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorRecord>,
    files: Vec<String>,
}

impl<'a> TraceJson<'a> {
    fn of(trace: &Trace, tree: &'a Tree, traces: &Traces, sources: &[Source]) -> Self {
        let telling = telling(tree);
        Self {
            trace_id: trace.id,
            short: traces.short(trace),
            source: &tree.source,
            start_ns: trace.start_ns.to_string(),
            end_ns: trace.end_ns.to_string(),
            state: state_word(tree.state),
            duration_ns: tree.duration_ns,
            spans: span_count(tree),
            node: telling.map(|span| &*span.node),
            error: telling.and_then(|span| match &span.outcome {
                SpanOutcome::Failed(error) => Some(error),
                _ => None,
            }),
            files: trace.sources.iter().map(|nth| sources[*nth].path.to_string_lossy().into_owned()).collect(),
        }
    }
}
