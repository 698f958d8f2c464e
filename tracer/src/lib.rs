//! Checked traces for Rust functions: what ran, with which values, and where it failed.

mod clock;
mod context;
mod flow;
mod guard;
mod id;
mod lines;
mod node;
mod outcome;
mod record;
mod recorder;
mod site;
mod stats;
mod status;
mod strict;
mod switch;
pub mod test;
mod tracer;
pub mod tree;
mod values;

#[doc(hidden)]
pub mod __private;

pub use clock::{Clock, ManualClock, SystemClock};
pub use context::{Context, ContextToken};
pub use guard::{GuardError, GuardErrorKind};
pub use id::{EnvId, FrameId, ParseFrameIdError, ParseIdError, TraceId};
pub use lines::{Branch, branch, carry, carry_fn, current_trace_id};
pub use node::{NAME_LEN_MAX, NameError, RESERVED, check_name};
pub use record::{Cause, EnvRecord, ErrorKind, ErrorRecord, Note, NoteRecord, Record, SCHEMA, StepRecord};
pub use recorder::{Detail, Entry, JsonLines, Lane, Memory, Recorder, Times};
pub use stats::{Stats, TraceState, TraceStats};
pub use status::Status;
pub use strict::{Refusal, StrictEnv};
pub use switch::set_enabled;
pub use tracer::{
    Tracer, TracerBuilder, Violation, active_traces, all_traces, clear_traces, create_env, replay, stats,
};
pub use tracer_macros::{flow, traced_node};
