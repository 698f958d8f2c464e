//! What the runtime promises, as tests: one binary, modules by feature.
//!
//! The expansion of `#[traced_node]` is not part of it: the tests call what expansions call.

#![expect(unreachable_pub, reason = "nothing outside reaches a test")]

mod auto_traits;
mod check;
mod events;
mod input;
mod manual;
mod memory;
mod model;
mod nodes;
mod programs;
mod random;
mod recorders;
mod review;
mod straight;
