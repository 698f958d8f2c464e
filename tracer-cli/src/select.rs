//! Which trace is meant.

use crate::source::Source;
use crate::traces::{Lines, Trace, Traces, is_bad};
use crate::wanted::{CANDIDATES_MAX, Wanted};

/// Why no trace was selected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("expected a trace, found none")]
    NoTraces,
    #[error("expected a failed or lost trace, found none among {traces}")]
    NoneFailed { traces: usize },
    #[error("expected a trace whose id begins with `{prefix}`, found none among {traces}")]
    NotFound { prefix: String, traces: usize },
    #[error("expected `{prefix}` to begin one id, found {count}:\n{candidates}")]
    Ambiguous { prefix: String, count: usize, candidates: String },
}

impl SelectError {
    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::NoTraces => "nothing was recorded there yet; `--dir PATH` says where else to look",
            Self::NoneFailed { .. } => "`tracer ls` lists all traces, `tracer show last` shows the newest",
            Self::NotFound { .. } => "`tracer ls` lists them; `--dir PATH` says where else to look",
            Self::Ambiguous { .. } => "give more digits",
        }
    }
}

/// The trace that is meant.
pub(crate) fn select<'a>(traces: &'a Traces, sources: &[Source], wanted: &Wanted) -> Result<&'a Trace, SelectError> {
    let count = traces.all.len();
    if count == 0 {
        return Err(SelectError::NoTraces);
    }
    match wanted {
        Wanted::Last => traces.all.first().ok_or(SelectError::NoTraces),
        Wanted::LastFailed => {
            let failed = traces.all.iter().find(|trace| is_bad(trace.summary(sources).state));
            failed.ok_or(SelectError::NoneFailed { traces: count })
        }
        Wanted::Prefix(prefix) => {
            let begins = |trace: &&Trace| format!("{:x}", trace.id).starts_with(prefix);
            let found: Vec<_> = traces.all.iter().filter(begins).collect();
            match *found {
                [one] => Ok(one),
                [] => Err(SelectError::NotFound { prefix: prefix.clone(), traces: count }),
                _ => Err(SelectError::Ambiguous {
                    prefix: prefix.clone(),
                    count: found.len(),
                    candidates: candidates(&found, sources),
                }),
            }
        }
    }
}

fn candidates(found: &[&Trace], sources: &[Source]) -> String {
    let all = Lines::new(sources);
    let mut lines: Vec<_> = found
        .iter()
        .take(CANDIDATES_MAX)
        .map(|trace| {
            let (summary, outline) = all.of(trace);
            let source = tracer::tree::Escaped(&outline.source).to_string();
            format!("  {} {} {source} {}", trace.id, crate::output::text::time(trace.start_ns()), summary.state)
        })
        .collect();
    if found.len() > CANDIDATES_MAX {
        lines.push(format!("  … and {} more", found.len() - CANDIDATES_MAX));
    }
    lines.join("\n")
}
