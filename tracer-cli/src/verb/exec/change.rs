//! `tracer exec cancel`, `retry`, `redrive`: what changes executions, after it was asked for.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use tracer::execution::{Execution, ExecutionError, ListOptions};
use tracer::tree::Escaped;

use super::{ExecError, Manager, ink, select, wait};
use crate::args::{ExecCancel, ExecChange, ExecRedrive};
use crate::exit::{Exit, Failure};
use crate::output::text;
use crate::session::Session;

pub(super) fn cancel(args: &ExecCancel, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let execution = select::select(manager, &args.wanted)?;
    confirm(args.yes, &format!("cancel {}", named(&execution)))?;
    done(session, wait(manager.cancel(&execution.id, args.reason.as_deref())))
}

pub(super) fn retry(args: &ExecChange, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let execution = select::select(manager, &args.wanted)?;
    confirm(args.yes, &format!("retry {}", named(&execution)))?;
    done(session, wait(manager.retry(&execution.id)))
}

pub(super) fn redrive(args: &ExecRedrive, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let Some(wanted) = args.wanted.as_ref().filter(|_| !args.all) else { return redrive_all(args, manager, session) };
    let execution = select::select(manager, wanted)?;
    confirm(args.yes, &format!("redrive {}", named(&execution)))?;
    done(session, wait(manager.redrive(&execution.id)))
}

fn redrive_all(args: &ExecRedrive, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let options = args.types.iter().fold(ListOptions::new().dead_letters(), ListOptions::type_);
    let mut dead = Vec::new();
    select::each(manager, options, |execution| dead.push(execution.id))?;
    if dead.is_empty() {
        session.messages.note("no such executions");
        return Ok(Exit::Nothing);
    }
    confirm(args.yes, &format!("redrive {}", text::count(dead.len(), "dead letter")))?;
    for id in &dead {
        done(session, wait(manager.redrive(id)))?;
    }
    Ok(Exit::Done)
}

/// Shows what has become of it.
fn done(session: &mut Session<'_>, changed: Result<Execution, ExecutionError>) -> Result<Exit, Failure> {
    let execution = changed.map_err(ExecError::from)?;
    if session.json {
        session.json_line(&execution)?;
    } else {
        let asked = if execution.cancel_requested { ", its worker is asked to stop" } else { "" };
        let status = session.colours.paint(ink(execution.status), execution.status);
        writeln!(session.out, "{}  {}  {status}{asked}", execution.id, Escaped(&execution.type_))?;
    }
    Ok(Exit::Done)
}

fn named(execution: &Execution) -> String {
    format!("{} ({}, {})", execution.id, Escaped(&execution.type_), execution.status)
}

/// Asks a person, unless it was said.
fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(ExecError::NotConfirmed("nobody to ask").into());
    }
    eprint!("{what}? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(ExecError::NotConfirmed("another answer").into()),
    }
}
