//! An execution as the texts of a row, for stores that keep rows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::body;
use super::command::Command;
use super::record::Execution;
use crate::id::ExecutionId;

/// An execution in texts: what may be large and seldom changes has one of its own, so that it is not written again with
/// each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<T> {
    /// All the rest, as JSON: what the execution is without the others, in short words and without what goes without saying.
    pub body: T,
    /// The payload, as JSON; never changes.
    pub payload: Option<T>,
    /// The result, as JSON.
    pub result: Option<T>,
    /// The checkpoints, as a JSON object.
    pub checkpoints: Option<T>,
}

/// Texts that are no execution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// One is not the JSON that it has to be.
    #[error("the {part} of {id} cannot be read")]
    NoJson {
        /// Which execution.
        id: ExecutionId,
        /// Which part.
        part: &'static str,
        /// What serde said.
        source: serde_json::Error,
    },
    /// They are another's.
    #[error("expected {expected}, found {found}")]
    OtherId {
        /// Whose they were to be.
        expected: ExecutionId,
        /// Whose they are.
        found: ExecutionId,
    },
}

impl Parts<String> {
    /// The texts of an execution.
    pub fn of(execution: &Execution) -> Self {
        let payload = Some(&execution.payload).filter(|payload| !payload.is_null()).map(text);
        Self { payload, ..Self::without_payload(execution) }
    }

    /// The key and the value of the checkpoint that a command keeps, if it does, for stores where each has a row of its
    /// own: both as JSON, so that `{`, `key:value` of each with commas between, and `}` are the text of all.
    pub fn of_checkpoint(command: &Command) -> Option<(String, String)> {
        match command {
            Command::Checkpoint { key, value } => Some((text(key), text(value))),
            _ => None,
        }
    }

    /// The same of each in the text of all; `None` if that is no such text.
    pub fn split_checkpoints(all: &str) -> Option<Vec<(String, String)>> {
        let all: BTreeMap<String, Value> = serde_json::from_str(all).ok()?;
        Some(all.iter().map(|(key, value)| (text(key), text(value))).collect())
    }

    /// The same as [`of`](Self::of), for who writes a change: the payload, which never changes, is left out.
    pub fn without_payload(execution: &Execution) -> Self {
        Self {
            body: body::write(execution),
            payload: None,
            result: execution.result.as_ref().map(text),
            checkpoints: Some(&execution.checkpoints).filter(|checkpoints| !checkpoints.is_empty()).map(text),
        }
    }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("executions hold strings, numbers and JSON, with strings for keys")
}

impl<T: AsRef<[u8]>> Parts<T> {
    /// The execution with these texts, which others may have written.
    ///
    /// # Errors
    ///
    /// [`PartsError`] if they are none, or another's than `id`.
    pub fn join(self, id: ExecutionId) -> Result<Execution, PartsError> {
        let no_json = |part| move |source| PartsError::NoJson { id, part, source };
        let value = |part, text: Option<T>| {
            let value = text.map(|text| serde_json::from_slice::<Value>(text.as_ref()));
            value.transpose().map_err(no_json(part))
        };
        let mut execution = body::read(self.body.as_ref()).map_err(no_json("body"))?;
        if execution.id != id {
            return Err(PartsError::OtherId { expected: id, found: execution.id });
        }
        execution.payload = value("payload", self.payload)?.unwrap_or_default();
        execution.result = value("result", self.result)?;
        let checkpoints = self.checkpoints.map(|text| serde_json::from_slice::<BTreeMap<_, _>>(text.as_ref()));
        execution.checkpoints = checkpoints.transpose().map_err(no_json("checkpoints"))?.unwrap_or_default();
        Ok(execution)
    }
}
