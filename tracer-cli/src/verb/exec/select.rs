//! Which execution is meant.

use std::ops::RangeInclusive;

use tracer::execution::{Execution, ExecutionId, ListOptions, Page};

use super::{ExecError, Manager, wait};
use crate::exit::Exit;
use crate::output::text;
use crate::session::Session;
use crate::wanted::{CANDIDATES_MAX, DIGITS, Wanted};

/// Why no execution was selected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("expected an execution, found none")]
    None,
    #[error("expected an execution that failed or timed out, found none")]
    NoneFailed,
    #[error("expected an execution whose id begins with `{prefix}`, found none")]
    NotFound { prefix: String },
    #[error("expected `{prefix}` to begin one id, found more:\n{candidates}")]
    Ambiguous { prefix: String, candidates: String },
}

impl SelectError {
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::None => "nothing was created in this file yet; `--store FILE` names another",
            Self::NoneFailed | Self::NotFound { .. } => "`tracer exec ls` lists them",
            Self::Ambiguous { .. } => "give more digits",
        }
    }

    pub(super) fn exit(&self) -> Exit {
        if let Self::Ambiguous { .. } = self { Exit::Usage } else { Exit::Nothing }
    }
}

/// The execution that is meant.
pub(super) fn select(manager: &Manager, wanted: &Wanted) -> Result<Execution, ExecError> {
    let newest = |options: ListOptions| -> Result<Option<Execution>, ExecError> {
        let page = wait(manager.list(options.newest_first().limit(1)))?;
        match page.unreadable.first() {
            // The error says why.
            Some(id) => Ok(Some(wait(manager.get(id))?)),
            None => Ok(page.into_iter().next()),
        }
    };
    let prefix = match wanted {
        Wanted::Last => return Ok(newest(ListOptions::new())?.ok_or(SelectError::None)?),
        Wanted::LastFailed => return Ok(newest(ListOptions::new().dead_letters())?.ok_or(SelectError::NoneFailed)?),
        Wanted::Prefix(prefix) => prefix,
    };
    if prefix.len() == DIGITS {
        let id = prefix.parse().map_err(|_| SelectError::NotFound { prefix: prefix.clone() })?;
        return Ok(wait(manager.get(&id))?);
    }
    let some = ListOptions::new().newest_first().limit(u32::try_from(CANDIDATES_MAX).unwrap_or(u32::MAX));
    let page = wait(manager.list(some.ids(beginning_with(prefix))))?;
    match (&*page.executions, &*page.unreadable) {
        ([], []) => Err(SelectError::NotFound { prefix: prefix.clone() }.into()),
        ([one], []) => Ok(one.clone()),
        ([], [id]) => Ok(wait(manager.get(id))?),
        (readable, unreadable) => {
            let readable = readable.iter().map(|one| format!("  {}  {}  {}", one.id, one.status, one.type_));
            let unreadable = unreadable.iter().map(|id| format!("  {id}  cannot be read"));
            let mut candidates: Vec<String> = readable.chain(unreadable).collect();
            candidates.extend(page.next.map(|_| "  …".to_owned()));
            Err(SelectError::Ambiguous { prefix: prefix.clone(), candidates: candidates.join("\n") }.into())
        }
    }
}

/// The ids that begin with these digits.
fn beginning_with(prefix: &str) -> RangeInclusive<ExecutionId> {
    let filled_with = |digit: &str| {
        let digits = format!("{prefix}{}", digit.repeat(DIGITS - prefix.len()));
        let number = u128::from_str_radix(&digits, 16).expect("a prefix has hex digits, and no more than an id");
        // No id is zero.
        ExecutionId::new(number.max(1)).expect("it is not zero")
    };
    filled_with("0")..=filled_with("f")
}

/// Calls `with` for every page of what matches.
pub(super) fn each_page(manager: &Manager, options: ListOptions, mut with: impl FnMut(Page)) -> Result<(), ExecError> {
    let mut options = options.limit(ListOptions::LIMIT_MAX);
    loop {
        let page = wait(manager.list(options.clone()))?;
        let next = page.next;
        with(page);
        let Some(next) = next else { return Ok(()) };
        options = options.after(next);
    }
}

/// Tells which ones a list had that cannot be read.
pub(super) fn tell_unreadable(unreadable: &[ExecutionId], session: &Session<'_>) {
    if unreadable.is_empty() {
        return;
    }
    let shown: Vec<String> = unreadable.iter().take(CANDIDATES_MAX).map(ToString::to_string).collect();
    let more = if unreadable.len() > shown.len() { ", …" } else { "" };
    session.messages.note(format!(
        "{} cannot be read: {}{more}; `tracer exec show ID` says why",
        text::count(unreadable.len(), "execution"),
        shown.join(", ")
    ));
}
