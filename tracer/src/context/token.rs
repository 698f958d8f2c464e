//! A context as a text, for a wire.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guard::GuardErrorKind;
use crate::id::{EnvId, TraceId};

/// A position as a text: `v1.<trace>.<env>.<step>`.
///
/// Any text can be deserialised as a token; what is malformed is refused as it is resumed, with a code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextToken(String);

impl ContextToken {
    pub(super) fn new(trace: TraceId, env: EnvId, step: u64) -> Self {
        Self(format!("v1.{trace:x}.{env:x}.{step}"))
    }

    pub(super) fn parse(&self) -> Result<(TraceId, EnvId, u64), GuardErrorKind> {
        let invalid = |problem| GuardErrorKind::InvalidContext {
            found: self.0.chars().take(80).collect::<String>().into(),
            problem,
        };
        let mut parts = self.0.split('.');
        if parts.next() != Some("v1") {
            return Err(invalid("it does not begin with `v1.`"));
        }
        let (Some(trace), Some(env), Some(step), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid("it does not have four parts"));
        };
        let trace = trace.parse().map_err(|_| invalid("the trace is not 32 lowercase hex digits"))?;
        let env = env.parse().map_err(|_| invalid("the env is not 16 lowercase hex digits"))?;
        let step = step.parse().map_err(|_| invalid("the step is not a number"))?;
        Ok((trace, env, step))
    }
}

impl fmt::Display for ContextToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for ContextToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for ContextToken {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
