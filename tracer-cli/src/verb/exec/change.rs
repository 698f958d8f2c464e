//! `tracer exec cancel`, `retry`, `redrive`, `delete`, `prune`: what changes executions, after it was asked for.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde_json::json;
use tracer::execution::{Execution, ExecutionError, ExecutionErrorKind, ListOptions, Pruned, Retention};
use tracer::tree::Escaped;

use super::{ExecError, Manager, duration, ink, select, wait};
use crate::args::{ExecCancel, ExecChange, ExecPrune, ExecRedrive};
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
    let (mut dead, mut unreadable) = (Vec::new(), Vec::new());
    select::each_page(manager, options, |page| {
        dead.extend(page.iter().map(|execution| execution.id));
        unreadable.extend(page.unreadable);
    })?;
    select::tell_unreadable(&unreadable, session);
    let done_all = if unreadable.is_empty() { Exit::Done } else { Exit::Unreadable };
    if dead.is_empty() {
        session.messages.note("no such executions");
        return Ok(if unreadable.is_empty() { Exit::Nothing } else { done_all });
    }
    confirm(args.yes, &format!("redrive {}", text::count(dead.len(), "dead letter")))?;
    // Somebody else may have driven one anew meanwhile, or deleted it.
    let mut refused: BTreeMap<&str, (usize, ExecutionError)> = BTreeMap::new();
    for id in &dead {
        match wait(manager.redrive(id)) {
            Err(error) if matches!(error.kind(), ExecutionErrorKind::Refused(_)) => {
                refused.entry(error.code()).or_insert((0, error)).0 += 1;
            }
            changed => drop(done(session, changed)?),
        }
    }
    for (count, error) in refused.values() {
        let refused = text::count(*count, "dead letter");
        session.messages.warning(error, &format!("{refused} of {} could not be driven anew, for this", dead.len()));
    }
    Ok(if refused.is_empty() { done_all } else { Exit::Nothing })
}

pub(super) fn delete(args: &ExecChange, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (id, name) = match select::select(manager, &args.wanted) {
        Ok(execution) => (execution.id, named(&execution)),
        Err(ExecError::Refused(error)) if error.code() == "CORRUPT" => match error.id() {
            Some(id) => (id, format!("{id}, which cannot be read")),
            None => return Err(ExecError::Refused(error).into()),
        },
        Err(error) => return Err(error.into()),
    };
    confirm(args.yes, &format!("delete {name}"))?;
    wait(manager.delete(&id)).map_err(ExecError::from)?;
    if session.json {
        session.json_line(&json!({ "deleted": 1 }))?;
    } else {
        writeln!(session.out, "deleted {name}")?;
    }
    Ok(Exit::Done)
}

pub(super) fn prune(args: &ExecPrune, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut retention = Retention::new(args.older_than);
    if args.dead {
        retention = retention.dead_letters(args.older_than);
    }
    let which = if args.dead { "all" } else { "all completed and cancelled" };
    confirm(args.yes, &format!("delete {which} executions that ended longer than {} ago", duration(args.older_than)))?;
    let Pruned { deleted, unreadable } = wait(manager.prune(retention)).map_err(ExecError::from)?;
    if session.json {
        session.json_line(&json!({ "deleted": deleted, "unreadable": unreadable }))?;
    } else {
        let count = |count: u64| text::count(usize::try_from(count).unwrap_or(usize::MAX), "execution");
        writeln!(session.out, "deleted {}", count(deleted))?;
        if unreadable > 0 {
            session.messages.note(format!("{} could not be read, and stayed", count(unreadable)));
        }
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
    let without = |found| Err(ExecError::NotConfirmed { what: what.to_owned(), found }.into());
    if !io::stdin().is_terminal() {
        return without("nobody to ask");
    }
    eprint!("{what}? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => without("another answer"),
    }
}
