//! `tracer stats`: counts, per file and per trace.

use std::collections::{BTreeMap, HashSet};
use std::io;

use serde::Serialize;
use tracer::tree::{Escaped, Span};
use tracer::{Record, TraceId};

use crate::exit::{Exit, Failure};
use crate::output::text;
use crate::session::Session;
use crate::source::{Skipped, Source};
use crate::traces::{Traces, state_word};

pub(crate) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (mut sources, exit) = session.read();
    let files: Vec<_> = sources.iter().map(FileCounts::of).collect();
    let traces = Traces::of(&mut sources);
    let counts = traces.all.iter().map(|trace| {
        let (tree, stats) = (trace.tree(), trace.stats());
        let counts = TraceCounts {
            of: "trace",
            trace_id: trace.id,
            source: tree.source.clone(),
            state: state_word(stats.state),
            records: stats.records,
            envs: stats.envs,
            steps: stats.steps,
            notes: stats.records - stats.envs - stats.steps,
            spans: tree.spans.iter().flat_map(Span::walk).map(|span| 1 + span.omitted).sum(),
            lost_steps: stats.lost,
        };
        (traces.short(trace), counts)
    });
    let counts: Vec<_> = counts.collect();
    let mut all = AllCounts {
        of: "all",
        files: files.len(),
        size_bytes: files.iter().map(|file| file.size_bytes).sum(),
        records: counts.iter().map(|(_, trace)| trace.records).sum(),
        traces: counts.len(),
        by_state: BTreeMap::new(),
    };
    for (_, trace) in &counts {
        *all.by_state.entry(trace.state).or_default() += 1;
    }
    if session.json {
        files.iter().try_for_each(|file| session.json_line(file))?;
        counts.iter().try_for_each(|(_, trace)| session.json_line(trace))?;
        session.json_line(&all)?;
    } else {
        write_tables(session, &files, &counts, &all)?;
    }
    if files.is_empty() && exit == Exit::Done {
        session.messages.note(format!("no files of records in {}", session.shown_places()));
        return Ok(Exit::Nothing);
    }
    Ok(exit)
}

fn write_tables(
    session: &mut Session<'_>,
    files: &[FileCounts],
    traces: &[(String, TraceCounts)],
    all: &AllCounts,
) -> io::Result<()> {
    let out = &mut session.out;
    if !files.is_empty() {
        writeln!(out, "{:>9} {:>9} {:>9} {:>9}  file", "records", "traces", "missing", "size")?;
    }
    for file in files {
        let missing = file.dropped + file.skipped.total() + file.gaps as u64;
        let size = text::size(file.size_bytes);
        let path = Escaped(&file.file);
        writeln!(out, "{:>9} {:>9} {missing:>9} {size:>9}  {path}", file.records, file.traces)?;
    }
    if !traces.is_empty() {
        writeln!(out, "\n{:>9} {:>9} {:>9} {:>9}  trace", "records", "spans", "missing", "state")?;
    }
    for (short, trace) in traces {
        let source = Escaped(&trace.source);
        let TraceCounts { records, spans, lost_steps, state, .. } = trace;
        writeln!(out, "{records:>9} {spans:>9} {lost_steps:>9} {state:>9}  {short} {source}")?;
    }
    let by_state: Vec<_> = all.by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let by_state = if by_state.is_empty() { String::new() } else { format!(" ({})", by_state.join(", ")) };
    let (files, size) = (text::count(all.files, "file"), text::size(all.size_bytes));
    let (records, traces) = (text::count(all.records, "record"), text::count(all.traces, "trace"));
    if all.files > 0 {
        writeln!(out, "\n{files} of {size}: {records} of {traces}{by_state}")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct FileCounts {
    of: &'static str,
    file: String,
    format: &'static str,
    size_bytes: u64,
    records: usize,
    envs: usize,
    steps: usize,
    notes: usize,
    traces: usize,
    dropped: u64,
    gaps: usize,
    skipped: Skipped,
}

impl FileCounts {
    fn of(source: &Source) -> Self {
        let count = |is: fn(&&Record) -> bool| source.records.iter().filter(is).count();
        Self {
            of: "file",
            file: source.path.to_string_lossy().into_owned(),
            format: source.format,
            size_bytes: source.size_bytes,
            records: source.records.len(),
            envs: count(|record| record.as_env().is_some()),
            steps: count(|record| record.as_step().is_some()),
            notes: count(|record| record.as_note().is_some()),
            traces: source.records.iter().map(Record::trace_id).collect::<HashSet<_>>().len(),
            dropped: source.dropped,
            gaps: source.gaps.len(),
            skipped: source.skipped.clone(),
        }
    }
}

#[derive(Serialize)]
struct TraceCounts {
    of: &'static str,
    trace_id: TraceId,
    source: String,
    state: &'static str,
    records: usize,
    envs: usize,
    steps: usize,
    notes: usize,
    spans: usize,
    lost_steps: u64,
}

#[derive(Serialize)]
struct AllCounts {
    of: &'static str,
    files: usize,
    size_bytes: u64,
    records: usize,
    traces: usize,
    by_state: BTreeMap<&'static str, usize>,
}
