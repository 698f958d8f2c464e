//! `tracer recover`: what each file still holds.

use std::io;

use serde::Serialize;
use tracer::tree::Escaped;

use super::{OpenJson, WriterJson, open_line, writer_line};
use crate::args::Recover;
use crate::exit::{Exit, Failure};
use crate::export::export;
use crate::output::{Ink, Progress, text};
use crate::session::Session;
use crate::source::{Gap, OpenNode, Skipped, Source};
use crate::traces::open_in;

/// So many processes and gaps of a file are listed.
const LISTED_MAX: usize = 20;

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
        let done = export(path, &sources, |_| progress.advance(1))?;
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
    for writer in source.writers.iter().take(LISTED_MAX) {
        line(if writer.is_alive { Ink::Live } else { Ink::Plain }, "process", &writer_line(writer))?;
    }
    if let more @ 1.. = source.writers.len().saturating_sub(LISTED_MAX) {
        line(Ink::Plain, "process", &format!("… and {more} more; `--json` has all"))?;
    }
    let (records, traces) = counts(source);
    let (records, traces) = (text::count(records, "record"), text::count(traces, "trace"));
    line(Ink::Plain, "holds", &format!("{records} of {traces}"))?;
    for node in open {
        let mut id = format!("{:x}", node.trace_id);
        id.truncate(8);
        line(Ink::Warn, "open", &format!("{id} {}", open_line(node)))?;
    }
    let (gaps, dropped) = (source.gaps(), source.dropped());
    for gap in gaps.iter().take(LISTED_MAX) {
        line(Ink::Warn, "gap", &gap.text)?;
    }
    if let more @ 1.. = gaps.len().saturating_sub(LISTED_MAX) {
        line(Ink::Warn, "gap", &format!("… and {more} more; `--json` has all"))?;
    }
    if dropped > 0 {
        line(Ink::Warn, "dropped", &format!("{dropped} records, which the process could not keep"))?;
    }
    line(Ink::Faint, "read", &source.confidence)
}

/// The shape of `--json`.
#[derive(Serialize)]
struct FileJson<'a> {
    file: String,
    format: &'static str,
    size_bytes: u64,
    #[serde(flatten)]
    process: WriterJson<'a>,
    records: u64,
    traces: usize,
    dropped: u64,
    gaps: Vec<&'a Gap>,
    confidence: &'a str,
    skipped: &'a Skipped,
    open: Vec<OpenJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    processes: Vec<WriterJson<'a>>,
}

impl<'a> FileJson<'a> {
    fn of(source: &'a Source, open: &'a [OpenNode]) -> Self {
        let (records, traces) = counts(source);
        Self {
            file: source.path.to_string_lossy().into_owned(),
            format: source.format,
            size_bytes: source.size_bytes,
            process: if let [one] = &source.writers[..] { one.into() } else { WriterJson::default() },
            records,
            traces,
            dropped: source.dropped(),
            gaps: source.gaps(),
            confidence: &source.confidence,
            skipped: &source.skipped,
            open: open.iter().map(OpenJson::from).collect(),
            processes: if let [_] = &source.writers[..] {
                Vec::new()
            } else {
                source.writers.iter().map(WriterJson::from).collect()
            },
        }
    }
}
