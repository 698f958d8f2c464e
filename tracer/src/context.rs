//! The frozen position in a line of calls.

/// The position (trace, env, step) in a line of calls.
#[derive(Debug)]
pub struct Context {}
