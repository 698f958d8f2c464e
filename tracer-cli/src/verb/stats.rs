//! `tracer stats`: counts, per file and per trace.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use tracer::TraceId;
use tracer::tree::Escaped;

use crate::exit::{Exit, Failure};
use crate::output::text;
use crate::session::Session;
use crate::source::{Skipped, Source, Summary};
use crate::traces::{Lines, Traces, state_word};

pub(crate) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (sources, exit) = session.read();
    let files: Vec<_> = sources.iter().map(FileCounts::of).collect();
    let traces = Traces::of(&sources);
    let lines = Lines::new(&sources);
    let progress = session.listing(traces.all.len());
    let counts = traces.all.iter().map(|trace| {
        progress.advance(1);
        let (summary, outline) = lines.of(trace);
        let counts = TraceCounts {
            of: "trace",
            trace_id: trace.id,
            source: outline.source,
            state: state_word(summary.state),
            records: summary.records,
            envs: summary.envs,
            steps: summary.steps,
            notes: summary.records.saturating_sub(summary.envs + summary.steps),
            spans: summary.spans,
            lost_steps: summary.lost_steps,
        };
        (traces.short(trace), counts)
    });
    let counts: Vec<_> = counts.collect();
    drop(progress);
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
    records: u64,
    envs: u64,
    steps: u64,
    notes: u64,
    traces: usize,
    dropped: u64,
    gaps: usize,
    skipped: Skipped,
}

impl FileCounts {
    fn of(source: &Source) -> Self {
        let traces = source.contents.traces();
        let count = |of: fn(&Summary) -> u64| traces.iter().map(of).sum::<u64>();
        let (records, envs, steps) = (count(|of| of.records), count(|of| of.envs), count(|of| of.steps));
        Self {
            of: "file",
            file: source.path.to_string_lossy().into_owned(),
            format: source.format,
            size_bytes: source.size_bytes,
            records,
            envs,
            steps,
            notes: records.saturating_sub(envs + steps),
            traces: traces.iter().filter(|trace| trace.records > 0).count(),
            dropped: source.dropped(),
            gaps: source.gaps().len(),
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
    records: u64,
    envs: u64,
    steps: u64,
    notes: u64,
    spans: u64,
    lost_steps: u64,
}

#[derive(Serialize)]
struct AllCounts {
    of: &'static str,
    files: usize,
    size_bytes: u64,
    records: u64,
    traces: usize,
    by_state: BTreeMap<&'static str, usize>,
}
