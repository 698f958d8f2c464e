//! Which execution is meant.

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
    #[error("expected `{prefix}` to begin one id, found {count}:\n{candidates}")]
    Ambiguous { prefix: String, count: usize, candidates: String },
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
    let is_meant = |id: ExecutionId| format!("{id:x}").starts_with(prefix);
    let mut found: Vec<(ExecutionId, String)> = Vec::new();
    each_page(manager, ListOptions::new().newest_first(), |page| {
        let readable = page.iter().filter(|one| is_meant(one.id));
        found.extend(readable.map(|one| (one.id, format!("{}  {}", one.status, one.type_))));
        let unreadable = page.unreadable.iter().filter(|id| is_meant(**id));
        found.extend(unreadable.map(|id| (*id, "cannot be read".to_owned())));
    })?;
    match &*found {
        [] => Err(SelectError::NotFound { prefix: prefix.clone() }.into()),
        [(id, _)] => Ok(wait(manager.get(id))?),
        _ => {
            let listed = found.iter().take(CANDIDATES_MAX);
            let candidates: Vec<String> = listed.map(|(id, what)| format!("  {id}  {what}")).collect();
            let (count, candidates) = (found.len(), candidates.join("\n"));
            Err(SelectError::Ambiguous { prefix: prefix.clone(), count, candidates }.into())
        }
    }
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
