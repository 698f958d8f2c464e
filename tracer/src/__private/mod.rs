//! What expansions call. Not part of the public interface: no version promises anything here.
//!
//! Expansions name everything through this module, so a crate that depends on `tracer` alone can use them.

mod bounds;
mod call;
mod carries;
mod checkpoint;
mod judge;
mod node;
mod record;

pub use std::boxed::Box;

pub use bounds::{EffectOutput, EntryArgument, EntryOutput, Returns};
pub use call::{call0, call1, call2, call3, call4, call5, call6, call7, call8};
pub use carries::{Carries, ContextProbe, NoContext};
pub use checkpoint::{AnyOutput, CheckpointOutput, OutputProbe};
pub use judge::{DebugErr, DisplayErr, Judge, JudgeWithoutText, Probe, fails, judged};
pub use node::{Claimed, Declared, Node, NodeInfo, OneFunctionPerNode, OpenNode, SharedNode};
pub use record::{AnyReturn, RecordArgument, RecordReturn, ReturnProbe};

pub use crate::execution::resume::{Codec, Repeat, checkpointed};
pub use crate::flow::{FlowNode, FlowTable};
pub use crate::lines::{Join, OpenFrame, Prepared, Traced, enter, prepare, traced};
pub use crate::outcome::{Failure, Outcome};
pub use crate::site::Site;
pub use crate::values::{Recorded, Values, values};
