//! The refusals of the manual API: a stable code, what was expected and what was found.

use std::fmt;

use crate::context::Context;
use crate::id::{EnvId, TraceId};
use crate::node::NameError;
use crate::strict::Refusal;
use crate::tree::Escaped;

/// A step or a token that was refused. Nothing was recorded and nothing changed.
///
/// [`into_context`](Self::into_context) gives the context back, at the position where it was.
pub struct GuardError {
    kind: GuardErrorKind,
    context: Option<Box<Context>>,
}

/// Why a step or a token was refused, in the order in which it is checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardErrorKind {
    /// The name is not one that a node may have.
    #[error("`{}` is no node name: {source}", Escaped(name))]
    InvalidNodeName {
        /// The name, at most its first 80 characters.
        name: Box<str>,
        /// The rule that is broken.
        source: NameError,
    },
    /// The token is not of the form that `Context::token` gives.
    #[error("expected a context token (`v1.<trace>.<env>.<step>`), found `{}`: {problem}", Escaped(found))]
    InvalidContext {
        /// The token, at most its first 80 characters.
        found: Box<str>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The trace was never made by this tracer, or was cleared or evicted.
    #[error("trace {trace} is not known here: it was made by another process or tracer, cleared or evicted")]
    UnknownTrace {
        /// The trace that was asked for.
        trace: TraceId,
    },
    /// The env does not belong to the trace.
    #[error("expected an env of trace {trace}, found {env}, which is none of its {envs}")]
    EnvMismatch {
        /// The trace.
        trace: TraceId,
        /// The env that is not its.
        env: EnvId,
        /// How many it has.
        envs: usize,
    },
    /// The step does not follow the last one of its env.
    #[error("step out of order: {0}")]
    StepOutOfOrder(Refusal),
    /// The env ended with an error.
    #[error("the env has ended: {0}")]
    TraceTerminated(Refusal),
    /// The node is not in a state for this step.
    #[error("invalid transition: {0}")]
    InvalidTransition(Refusal),
}

impl GuardErrorKind {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidNodeName { .. } => "INVALID_NODE_NAME",
            Self::InvalidContext { .. } => "INVALID_CONTEXT",
            Self::UnknownTrace { .. } => "UNKNOWN_TRACE",
            Self::EnvMismatch { .. } => "ENV_MISMATCH",
            Self::StepOutOfOrder(_) => "STEP_OUT_OF_ORDER",
            Self::TraceTerminated(_) => "TRACE_TERMINATED",
            Self::InvalidTransition(_) => "INVALID_TRANSITION",
        }
    }
}

impl From<Refusal> for GuardErrorKind {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OutOfOrder { .. } => Self::StepOutOfOrder(refusal),
            Refusal::Terminated { .. } => Self::TraceTerminated(refusal),
            Refusal::Transition { .. } => Self::InvalidTransition(refusal),
        }
    }
}

impl GuardError {
    pub(crate) fn new(kind: impl Into<GuardErrorKind>, context: Option<Context>) -> Self {
        Self { kind: kind.into(), context: context.map(Box::new) }
    }

    /// The stable code: `INVALID_NODE_NAME`, `INVALID_CONTEXT`, `UNKNOWN_TRACE`, `ENV_MISMATCH`,
    /// `STEP_OUT_OF_ORDER`, `TRACE_TERMINATED` or `INVALID_TRANSITION`.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Which guard refused, with what it expected and found.
    pub fn kind(&self) -> &GuardErrorKind {
        &self.kind
    }

    /// The context of the refused step, as it was; `None` for a refused token.
    pub fn into_context(self) -> Option<Context> {
        self.context.map(|context| *context)
    }
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.kind, self.code())
    }
}

impl fmt::Debug for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardError").field("code", &self.code()).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl std::error::Error for GuardError {}
