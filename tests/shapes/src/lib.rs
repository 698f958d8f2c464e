//! Every shape of function that `#[traced_node]` goes on. That it compiles, in three editions, is the test.
#![deny(warnings)]
#![allow(dead_code, clippy::all, missing_docs)]
#![warn(unused_variables, unused_mut, unused_braces, unused_parens, unreachable_code, unused_imports)]

pub mod asynchronous;
pub mod containers;
pub mod flows;
pub mod lints;
pub mod methods;
pub mod names;
pub mod options;
pub mod sync;
pub mod traits;
