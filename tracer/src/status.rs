//! The three kinds of step.

use serde::{Deserialize, Serialize};

/// What a step says of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The node was idle and begins.
    Enter,
    /// The node was entered and ended well.
    Exit,
    /// The node was entered and failed: the last step of its env.
    Error,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Enter => "enter",
            Self::Exit => "exit",
            Self::Error => "error",
        })
    }
}
