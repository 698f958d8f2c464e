//! The seven states, and the whole state machine: one function, [`ExecutionStatus::next`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where an execution is in its life. Lowercase snake case in JSON (`timed_out`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Created, never started. Claimed once its `run_at` has come.
    Pending,
    /// An attempt is under way.
    Running,
    /// Ended with a result. Final.
    Completed,
    /// The last attempt failed, and no other follows unless somebody asks for it.
    Failed,
    /// Called off. Final.
    Cancelled,
    /// An attempt ended without a result, and another one follows once `run_at` has come.
    Retrying,
    /// The attempt took longer than it may, and no other follows unless somebody asks for it.
    TimedOut,
}

/// What can happen to an execution, as far as its status is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// An attempt begins.
    Start,
    /// It ends with a result.
    Complete,
    /// It ends with a failure.
    Fail {
        /// Whether the failure may be retried, and attempts are left.
        again: bool,
    },
    /// It is given back unfinished, and does not count.
    Release,
    /// The execution is called off.
    Cancel,
    /// Another attempt is asked for.
    Retry,
    /// The attempt has taken longer than it may.
    TimeOut,
    /// Likewise, and another attempt is left.
    Overtime,
}

impl ExecutionStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Retrying, Self::TimedOut];

    /// The whole state machine: what follows, `None` for what is refused. It changes nothing only where it says the
    /// status that it was asked about.
    #[expect(clippy::match_same_arms, reason = "each arm is an edge, or two with a reason")]
    pub const fn next(self, event: Event) -> Option<Self> {
        use Event as E;
        Some(match (self, event) {
            (Self::Pending | Self::Retrying, E::Start) => Self::Running,
            (Self::Running, E::Complete) => Self::Completed,
            // Two edges in one write: the attempt has failed or timed out, and the execution is to be tried again.
            (Self::Running, E::Fail { again: true } | E::Overtime | E::Release) => Self::Retrying,
            (Self::Running, E::Fail { again: false }) => Self::Failed,
            // There is no attempt that could be retried: whoever fails a waiting execution gives it up.
            (Self::Retrying, E::Fail { .. }) => Self::Failed,
            (Self::Running, E::TimeOut) => Self::TimedOut,
            (Self::Pending | Self::Running | Self::Retrying, E::Cancel) => Self::Cancelled,
            (Self::Failed | Self::TimedOut | Self::Retrying, E::Retry) => Self::Retrying,
            _ => return None,
        })
    }

    /// Whether nothing more happens by itself: completed, failed, cancelled or timed out.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// Whether it waits to be claimed: pending or retrying.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::Retrying)
    }

    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Retrying => "retrying",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected pending, running, completed, failed, cancelled, retrying or timed_out, found `{}`",
    .0.chars().take(80).collect::<String>()
)]
pub struct ParseStatusError(String);

impl FromStr for ExecutionStatus {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, ParseStatusError> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| ParseStatusError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [(&str, Event); 9] = [
        ("start", Event::Start),
        ("complete", Event::Complete),
        ("fail, another attempt is left", Event::Fail { again: true }),
        ("fail for good", Event::Fail { again: false }),
        ("release", Event::Release),
        ("cancel", Event::Cancel),
        ("retry", Event::Retry),
        ("time out", Event::TimeOut),
        ("time out, another attempt is left", Event::Overtime),
    ];

    /// The edges that are promised, and no others.
    const EDGES: [(ExecutionStatus, &[ExecutionStatus]); 7] = {
        use ExecutionStatus as S;
        [
            (S::Pending, &[S::Running, S::Cancelled]),
            (S::Running, &[S::Completed, S::Failed, S::TimedOut, S::Cancelled]),
            (S::Completed, &[]),
            (S::Failed, &[S::Retrying]),
            (S::Cancelled, &[]),
            (S::Retrying, &[S::Running, S::Failed, S::Cancelled]),
            (S::TimedOut, &[S::Retrying]),
        ]
    };

    fn is_edge(from: ExecutionStatus, to: ExecutionStatus) -> bool {
        EDGES.iter().any(|(edge, targets)| *edge == from && targets.contains(&to))
    }

    #[test]
    fn every_transition_is_a_promised_edge() {
        for from in ExecutionStatus::ALL {
            for (name, event) in EVENTS {
                let Some(to) = from.next(event) else { continue };
                let through = |between| is_edge(from, between) && is_edge(between, to);
                let through_another = through(ExecutionStatus::Failed) || through(ExecutionStatus::TimedOut);
                let stays = from == to && event == Event::Retry && from == ExecutionStatus::Retrying;
                assert!(is_edge(from, to) || through_another || stays, "{from} → {to} by {name}");
            }
        }
    }

    #[test]
    fn every_promised_edge_is_a_transition() {
        for (from, targets) in EDGES {
            for to in targets {
                assert!(EVENTS.iter().any(|(_, event)| from.next(*event) == Some(*to)), "{from} → {to}");
            }
        }
    }

    #[test]
    fn completed_and_cancelled_are_final() {
        for status in [ExecutionStatus::Completed, ExecutionStatus::Cancelled] {
            assert!(EVENTS.iter().all(|(_, event)| status.next(*event).is_none()));
        }
    }

    #[test]
    fn names_are_read_back() {
        for status in ExecutionStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        let error = "done".parse::<ExecutionStatus>().unwrap_err();
        assert!(error.to_string().ends_with("timed_out, found `done`"), "{error}");
    }

    const BEGIN: &str = "<!-- executions: begin, written by a test -->\n";
    const END: &str = "<!-- executions: end -->";

    fn table() -> String {
        let row = |name: &str, cell: &dyn Fn(ExecutionStatus) -> String| {
            let cells = ExecutionStatus::ALL.map(cell);
            format!("|{name}| {} |\n", cells.join(" | "))
        };
        let head = row(" ", &|status| status.to_string());
        let rows = EVENTS.map(|(name, event)| {
            row(&format!(" {name} "), &|status| match status.next(event) {
                Some(next) if next == status => "no change".to_owned(),
                Some(next) => format!("→ {next}"),
                None => "–".to_owned(),
            })
        });
        format!("{head}|---|---|---|---|---|---|---|---|\n{}", rows.concat())
    }

    /// An edge that nobody meant to add shows in the review. `UPDATE_EXPECT=1` writes it.
    #[test]
    fn table_in_the_documentation_is_the_function() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/states.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("states.md has the mark where the table begins");
        let (found, after) = rest.split_once(END).expect("states.md has the mark where the table ends");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        } else {
            assert_eq!(found, table(), "docs/states.md differs; UPDATE_EXPECT=1 writes it");
        }
    }
}
