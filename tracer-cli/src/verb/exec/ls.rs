//! `tracer exec ls`: executions, one a line.

use std::io::Write as _;

use tracer::execution::{Execution, ExecutionId, ListOptions, Timestamp};
use tracer::tree::Escaped;

use super::{Manager, duration, ink, lease_over, now, progress, select, time, wait};
use crate::args::ExecLs;
use crate::exit::{Exit, Failure};
use crate::output::{Ink, text};
use crate::session::Session;
use crate::verb::exec::ExecError;

/// Enough of an id to tell those of a second apart; more, where that does not do.
const SHORT_MIN: usize = 13;
const ERROR_LEN_MAX: usize = 80;

pub(super) fn run(args: &ExecLs, manager: &Manager, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut options = ListOptions::new().newest_first();
    options = args.statuses.iter().fold(options, |options, status| options.status(*status));
    options = args.types.iter().fold(options, ListOptions::type_);
    if args.dead {
        options = options.dead_letters();
    }
    let Listing { listed, unreadable, has_more } = list(manager, options, args.limit)?;
    if listed.is_empty() && unreadable.is_empty() {
        session.messages.note("no such executions");
        return Ok(Exit::Nothing);
    }
    let (short, now) = (short_len(&listed), now(manager));
    let widest = listed.iter().map(|execution| execution.type_.chars().count()).max().unwrap_or(0).min(32);
    for execution in &listed {
        if session.json {
            session.json_line(execution)?;
        } else {
            write_line(session, execution, short, widest, now)?;
        }
    }
    if has_more {
        session.messages.note(format!("there are older ones; `-n` shows more than {}", args.limit));
    }
    select::tell_unreadable(&unreadable, session);
    Ok(if unreadable.is_empty() { Exit::Done } else { Exit::Unreadable })
}

/// The first of those that match.
struct Listing {
    listed: Vec<Execution>,
    /// What is between them and cannot be read.
    unreadable: Vec<ExecutionId>,
    has_more: bool,
}

fn list(manager: &Manager, options: ListOptions, limit: u32) -> Result<Listing, ExecError> {
    let (mut options, mut left) = (options, limit);
    let mut listing = Listing { listed: Vec::new(), unreadable: Vec::new(), has_more: false };
    loop {
        let mut page = wait(manager.list(options.clone().limit(left.min(ListOptions::LIMIT_MAX))))?;
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(left));
        listing.unreadable.append(&mut page.unreadable);
        listing.has_more = page.next.is_some();
        let next = page.next;
        listing.listed.extend(page);
        match next {
            Some(next) if left > 0 => options = options.after(next),
            _ => return Ok(listing),
        }
    }
}

/// How many digits tell all of them apart.
fn short_len(executions: &[Execution]) -> usize {
    let mut ids: Vec<String> = executions.iter().map(|execution| format!("{:x}", execution.id)).collect();
    ids.sort_unstable();
    let common = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(one, other)| one == other).count();
    ids.windows(2).map(|pair| common(pair) + 1).max().unwrap_or(0).max(SHORT_MIN)
}

fn write_line(
    session: &mut Session<'_>,
    execution: &Execution,
    short: usize,
    widest: usize,
    now: Timestamp,
) -> std::io::Result<()> {
    let colours = session.colours;
    let id = format!("{:x}", execution.id);
    let status = colours.paint(ink(execution.status), format!("{:<9}", execution.status.as_str()));
    let type_ = text::cut(&execution.type_, widest);
    let attempts = format!("{}/{}", execution.attempts, execution.max_attempts);
    let mut rest = Vec::new();
    if execution.status.is_waiting() && execution.run_at > now {
        rest.push(format!("next run in {}", duration(execution.run_at.since(now))));
    }
    if execution.reserved {
        rest.push("waits for its turn in a worker".to_owned());
    }
    rest.extend(lease_over(execution, now));
    if execution.cancel_requested {
        rest.push("asked to stop".to_owned());
    }
    if execution.result.is_none() {
        rest.extend(progress(execution, 10));
        let error = execution.error.as_ref();
        rest.extend(error.map(|error| text::cut(&failure(error), ERROR_LEN_MAX)));
    }
    let created = colours.paint(Ink::Faint, time(execution.created_at));
    let line = format!("{type_:<widest$}  {attempts:>5}  {}", rest.join("  "));
    writeln!(session.out, "{}  {created}  {status}  {}", &id[..short], Escaped(line.trim_end()))
}

/// `CODE: message`.
pub(super) fn failure(failure: &tracer::execution::Failure) -> String {
    match &failure.code {
        Some(code) => format!("{code}: {}", failure.message),
        None => failure.message.clone(),
    }
}
