//! `tracer ls`: traces, one a line.

use std::fmt::Write as _;

use serde::Serialize;
use tracer::tree::{Escaped, Nanoseconds};
use tracer::{ErrorRecord, TraceId};

use super::NO_RECORD;
use crate::args::Ls;
use crate::exit::{Exit, Failure};
use crate::output::{Colours, Ink, text};
use crate::session::Session;
use crate::source::{Outline, Source, Summary};
use crate::traces::{Lines, Trace, Traces, is_bad, state_word};

pub(crate) fn run(args: &Ls, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (sources, exit) = session.read();
    let traces = Traces::of(&sources);
    let lines = Lines::new(&sources);
    let progress = session.listing(traces.all.len());
    let told = traces.all.iter().map(|trace| {
        progress.advance(1);
        Told::of(trace, &traces, &lines)
    });
    let mut listed = 0;
    let wanted = told.filter(|told| told.is_wanted(args)).take(args.limit.unwrap_or(usize::MAX));
    if session.json {
        for told in wanted {
            session.json_line(&TraceJson::of(&told, &sources))?;
            listed += 1;
        }
    } else {
        let wanted: Vec<_> = wanted.collect();
        drop(progress);
        let source_len = wanted.iter().map(|told| told.source().chars().count()).max().unwrap_or(0);
        for told in &wanted {
            let line = told.line(source_len, session.colours);
            writeln!(session.out, "{line}")?;
        }
        listed = wanted.len();
    }
    if listed == 0 && exit == Exit::Done {
        session.messages.note(match traces.all.len() {
            0 => format!("no traces in {}", session.shown_places()),
            some => format!("none of {} is like that", text::count(some, "trace")),
        });
        return Ok(Exit::Nothing);
    }
    Ok(exit)
}

/// What a line is made of.
struct Told<'a> {
    trace: &'a Trace,
    short: String,
    summary: Summary,
    outline: Outline,
}

impl<'a> Told<'a> {
    fn of(trace: &'a Trace, traces: &Traces, lines: &Lines<'_>) -> Self {
        let (summary, outline) = lines.of(trace);
        Self { trace, short: traces.short(trace), summary, outline }
    }

    fn is_wanted(&self, args: &Ls) -> bool {
        let source = &self.outline.source;
        (!args.failed || is_bad(self.summary.state))
            && args.source.as_ref().is_none_or(|part| source.contains(part.as_str()))
    }

    fn source(&self) -> String {
        text::cut(&Escaped(&self.outline.source).to_string(), 40)
    }

    fn line(&self, source_len: usize, colours: Colours) -> String {
        let Self { trace, short, summary, .. } = self;
        let when = colours.paint(Ink::Faint, text::time(trace.start_ns()));
        let state = colours.paint(text::state_ink(summary.state), format!("{:<9}", state_word(summary.state)));
        let duration = Nanoseconds(trace.duration_ns()).to_string();
        let spans = text::count(summary.spans, "span");
        let source = self.source();
        let mut line = format!("{short}  {when}  {source:<source_len$}  {state}  {duration:>7}  {spans:>8}");
        if let Some(telling) = &self.outline.telling {
            let _infallible = write!(line, "  {}", text::telling(telling, colours));
        } else if trace.period.is_none() {
            let _infallible = write!(line, "  {NO_RECORD}");
        }
        line
    }
}

/// The shape of `--json`.
#[derive(Serialize)]
struct TraceJson<'a> {
    trace_id: TraceId,
    short: &'a str,
    source: &'a str,
    start_ns: Option<String>,
    end_ns: Option<String>,
    state: &'static str,
    duration_ns: u64,
    spans: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorRecord>,
    files: Vec<String>,
}

impl<'a> TraceJson<'a> {
    fn of(told: &'a Told<'_>, sources: &[Source]) -> Self {
        let Told { trace, short, summary, outline } = told;
        let telling = outline.telling.as_ref();
        Self {
            trace_id: trace.id,
            short,
            source: &outline.source,
            start_ns: trace.period.map(|period| period.start_ns.to_string()),
            end_ns: trace.period.map(|period| period.end_ns.to_string()),
            state: state_word(summary.state),
            duration_ns: trace.duration_ns(),
            spans: summary.spans,
            node: telling.map(|telling| &*telling.node),
            error: telling.and_then(|telling| telling.error.as_ref()),
            files: trace.sources().map(|nth| sources[nth].path.to_string_lossy().into_owned()).collect(),
        }
    }
}
