//! Checked traces for Rust functions: what ran, with which values, and where it failed.

mod context;
mod flow;
mod lines;
mod outcome;
mod site;
mod values;

#[doc(hidden)]
pub mod __private;

pub use context::Context;
pub use tracer_macros::{flow, traced_node};
