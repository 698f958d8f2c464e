//! `tracer exec show`: one execution, with its attempts and what it has kept.

use std::io::{self, Write as _};

use serde_json::Value;
use tracer::execution::{AttemptEnd, AttemptRecord, Execution, Timestamp};
use tracer::tree::Escaped;

use super::ls::failure;
use super::{Manager, duration, ink, lease_over, now, progress, select, time};
use crate::args::ExecOne;
use crate::exit::{Exit, Failure};
use crate::output::{Ink, text};
use crate::session::Session;

const VALUE_LEN_MAX: usize = 200;
/// So many checkpoints are shown.
const CHECKPOINTS_MAX: usize = 10;
const BAR_WIDE: usize = 30;

pub(super) fn run(args: &ExecOne, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let execution = select::select(manager, &args.wanted)?;
    if session.json {
        session.json_line(&execution)?;
    } else {
        write(session, &execution, now(manager))?;
    }
    Ok(Exit::Done)
}

fn write(session: &mut Session<'_>, execution: &Execution, now: Timestamp) -> io::Result<()> {
    let colours = session.colours;
    let status = colours.paint(ink(execution.status), execution.status);
    writeln!(session.out, "{}  {}  {status}", execution.id, Escaped(&execution.type_))?;
    let mut line = |label: &str, text: String| {
        writeln!(session.out, "  {}{}", colours.paint(Ink::Faint, format!("{label:<12}")), Escaped(&text))
    };
    line("created", time(execution.created_at))?;
    if let Some(key) = &execution.idempotency_key {
        line("key", key.clone())?;
    }
    if let Some(parent) = &execution.parent_id {
        line("part of", parent.to_string())?;
    }
    let driven = match execution.redrives {
        0 => String::new(),
        times => format!(", driven anew {}", text::count(times as usize, "time")),
    };
    line("attempts", format!("{} of {}{driven}", execution.attempts, execution.max_attempts))?;
    if let Some(timeout) = execution.timeout {
        line("timeout", duration(timeout))?;
    }
    if execution.status.is_waiting() {
        let when = execution.run_at;
        let wait = if when > now { format!(", in {}", duration(when.since(now))) } else { ": it is due".to_owned() };
        line("next run", format!("{}{wait}", time(when)))?;
    }
    if let Some(lease) = &execution.lease {
        let asked = if execution.cancel_requested { ", and was asked to stop" } else { "" };
        let over = lease_over(execution, now).map(|over| format!(", {over}: another worker may take it over"));
        let over = over.unwrap_or_default();
        let how = if execution.reserved { ", where it waits for its turn" } else { "" };
        line("held by", format!("{} until {}{how}{over}{asked}", lease.worker, time(lease.until)))?;
    }
    if let Some(completed) = execution.completed_at {
        line("ended", time(completed))?;
    }
    if let Some(shown) = progress(execution, BAR_WIDE) {
        line("progress", shown)?;
    }
    if let Some(error) = &execution.error {
        line("error", failure(error))?;
    }
    let value = |value: &Value| text::cut(&value.to_string(), VALUE_LEN_MAX);
    if !execution.payload.is_null() {
        line("payload", value(&execution.payload))?;
    }
    if let Some(result) = &execution.result {
        line("result", value(result))?;
    }
    for (key, one) in &execution.metadata {
        line("metadata", format!("{key} = {}", value(one)))?;
    }
    write_attempts(session, execution)?;
    if !execution.checkpoints.is_empty() {
        writeln!(session.out, "  checkpoints: {}", execution.checkpoints.len())?;
        for (key, one) in execution.checkpoints.iter().take(CHECKPOINTS_MAX) {
            writeln!(session.out, "    {} = {}", Escaped(key), Escaped(&value(one)))?;
        }
        if execution.checkpoints.len() > CHECKPOINTS_MAX {
            writeln!(session.out, "    … `--json` has all of them")?;
        }
    }
    Ok(())
}

fn write_attempts(session: &mut Session<'_>, execution: &Execution) -> io::Result<()> {
    let colours = session.colours;
    let mut ended = None;
    for attempt in &execution.history {
        if let Some(ended) = ended {
            let gap = duration(attempt.started_at.since(ended));
            writeln!(session.out, "    {}", colours.paint(Ink::Faint, format!("┊ {gap} later")))?;
        }
        ended = attempt.ended_at;
        let (mark, mark_ink) = mark(attempt);
        let took = match attempt.ended_at {
            Some(ended) => duration(ended.since(attempt.started_at)),
            None => "so far".to_owned(),
        };
        let how = attempt.end.map_or("under way", AttemptEnd::as_str);
        let worker = attempt.worker.as_ref().map(|worker| format!("  by {worker}")).unwrap_or_default();
        let error = attempt.error.as_ref().map(|error| format!("  {}", failure(error))).unwrap_or_default();
        let line = format!("attempt {}  {}  {took}  {how}{worker}{error}", attempt.attempt, time(attempt.started_at));
        writeln!(session.out, "  {} {}", colours.paint(mark_ink, mark), Escaped(&line))?;
        let trace = format!("      trace {}", attempt.trace_id);
        writeln!(session.out, "{}", colours.paint(Ink::Faint, trace))?;
    }
    Ok(())
}

fn mark(attempt: &AttemptRecord) -> (char, Ink) {
    match attempt.end {
        None => ('…', Ink::Live),
        Some(AttemptEnd::Completed) => ('✓', Ink::Good),
        Some(AttemptEnd::Released | AttemptEnd::Cancelled) => ('–', Ink::Plain),
        Some(_) => ('✗', Ink::Bad),
    }
}
