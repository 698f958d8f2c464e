//! Which execution is meant.

use tracer::execution::{Execution, ExecutionId, ListOptions};

use super::{ExecError, Manager, wait};
use crate::exit::Exit;
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
    let newest =
        |options: ListOptions| wait(manager.list(options.newest_first().limit(1))).map(|page| page.into_iter().next());
    let prefix = match wanted {
        Wanted::Last => return Ok(newest(ListOptions::new())?.ok_or(SelectError::None)?),
        Wanted::LastFailed => return Ok(newest(ListOptions::new().dead_letters())?.ok_or(SelectError::NoneFailed)?),
        Wanted::Prefix(prefix) => prefix,
    };
    if prefix.len() == DIGITS {
        let not_found = || SelectError::NotFound { prefix: prefix.clone() };
        return Ok(wait(manager.get(&whole_id(wanted).ok_or_else(not_found)?))?);
    }
    let mut found = Vec::new();
    each(manager, ListOptions::new().newest_first(), |execution| {
        if format!("{:x}", execution.id).starts_with(prefix) {
            found.push(execution);
        }
    })?;
    match found.len() {
        0 => Err(SelectError::NotFound { prefix: prefix.clone() }.into()),
        1 => Ok(found.remove(0)),
        count => {
            let listed = found.iter().take(CANDIDATES_MAX);
            let candidates: Vec<String> =
                listed.map(|one| format!("  {}  {}  {}", one.id, one.status, one.type_)).collect();
            Err(SelectError::Ambiguous { prefix: prefix.clone(), count, candidates: candidates.join("\n") }.into())
        }
    }
}

/// The id that is meant, if all of it was given.
pub(super) fn whole_id(wanted: &Wanted) -> Option<ExecutionId> {
    match wanted {
        Wanted::Prefix(prefix) if prefix.len() == DIGITS => prefix.parse().ok(),
        _ => None,
    }
}

/// Calls `with` for every execution that matches.
pub(super) fn each(manager: &Manager, options: ListOptions, mut with: impl FnMut(Execution)) -> Result<(), ExecError> {
    let mut options = options.limit(ListOptions::LIMIT_MAX);
    loop {
        let page = wait(manager.list(options.clone()))?;
        let next = page.next;
        page.into_iter().for_each(&mut with);
        let Some(next) = next else { return Ok(()) };
        options = options.after(next);
    }
}
