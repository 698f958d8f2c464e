//! `tracer recover`: what each file still holds.

use std::io;

use serde::Serialize;
use serde_json::Value;
use tracer::tree::Escaped;

use super::{OpenJson, open_line};
use crate::args::Recover;
use crate::exit::{Exit, Failure};
use crate::export::export;
use crate::output::{Ink, Progress, text};
use crate::session::Session;
use crate::source::{Gap, OpenNode, Skipped, Source};
use crate::traces::open_in;

/// So many gaps of a file are listed.
const GAPS_MAX: usize = 20;

pub(crate) fn run(args: &Recover, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (sources, exit) = session.read();
    for source in &sources {
        let open = open_in(source);
        if session.json {
            session.json_line(&FileJson::of(source, &open))?;
        } else {
            write_file(session, source, &open)?;
        }
    }
    if sources.is_empty() && exit == Exit::Done {
        session.messages.note(format!("no files of records in {}", session.shown_places()));
        return Ok(Exit::Nothing);
    }
    if let Some(path) = &args.out {
        let progress = Progress::writing(sources.iter().map(|source| counts(source).0).sum());
        let records = sources.iter().flat_map(|source| source.contents.records());
        let done = export(path, records.inspect(|_| progress.advance(1)))?;
        drop(progress);
        let (path, added) = (text::path(path), text::count(done.added, "record"));
        session.messages.note(format!("{path}: {added} added, {} there already", done.present));
    }
    Ok(exit)
}

/// So many records, of so many traces.
fn counts(source: &Source) -> (u64, usize) {
    // Some are known by the table of open nodes alone.
    let traces: Vec<_> = source.contents.traces().into_iter().filter(|trace| trace.records > 0).collect();
    (traces.iter().map(|trace| trace.records).sum(), traces.len())
}

fn write_file(session: &mut Session<'_>, source: &Source, open: &[OpenNode]) -> io::Result<()> {
    let size = text::size(source.size_bytes);
    writeln!(session.out, "{} ({}, {size})", text::path(&source.path), source.format)?;
    let mut line = |ink: Ink, label: &str, text: &str| {
        let label = session.colours.paint(ink, format!("{label:<8}"));
        writeln!(session.out, "  {label}{}", Escaped(text))
    };
    let process = [&source.process, &source.death].into_iter().flatten().cloned().collect::<Vec<_>>().join(": ");
    if !process.is_empty() {
        line(if source.is_alive { Ink::Live } else { Ink::Plain }, "process", &process)?;
    }
    let (records, traces) = counts(source);
    let (records, traces) = (text::count(records, "record"), text::count(traces, "trace"));
    line(Ink::Plain, "holds", &format!("{records} of {traces}"))?;
    for node in open {
        let mut id = format!("{:x}", node.trace_id);
        id.truncate(8);
        line(Ink::Warn, "open", &format!("{id} {}", open_line(node)))?;
    }
    for gap in source.gaps.iter().take(GAPS_MAX) {
        line(Ink::Warn, "gap", &gap.text)?;
    }
    if let more @ 1.. = source.gaps.len().saturating_sub(GAPS_MAX) {
        line(Ink::Warn, "gap", &format!("… and {more} more; `--json` has all"))?;
    }
    if source.dropped > 0 {
        line(Ink::Warn, "dropped", &format!("{} records, which the process could not keep", source.dropped))?;
    }
    line(Ink::Faint, "read", &source.confidence)
}

/// The shape of `--json`.
#[derive(Serialize)]
struct FileJson<'a> {
    file: String,
    format: &'static str,
    size_bytes: u64,
    process: Option<&'a str>,
    app: Option<&'a str>,
    pid: Option<u32>,
    death: Option<&'a str>,
    ended: Option<&'a Value>,
    alive: bool,
    records: u64,
    traces: usize,
    dropped: u64,
    gaps: &'a [Gap],
    confidence: &'a str,
    skipped: &'a Skipped,
    open: Vec<OpenJson<'a>>,
}

impl<'a> FileJson<'a> {
    fn of(source: &'a Source, open: &'a [OpenNode]) -> Self {
        let (records, traces) = counts(source);
        Self {
            file: source.path.to_string_lossy().into_owned(),
            format: source.format,
            size_bytes: source.size_bytes,
            process: source.process.as_deref(),
            app: source.app.as_deref(),
            pid: source.pid,
            death: source.death.as_deref(),
            ended: source.ended.as_ref(),
            alive: source.is_alive,
            records,
            traces,
            dropped: source.dropped,
            gaps: &source.gaps,
            confidence: &source.confidence,
            skipped: &source.skipped,
            open: open.iter().map(OpenJson::from).collect(),
        }
    }
}
