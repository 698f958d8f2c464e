//! What a traced call costs, with tracer and with its peers, measured side by side.
//!
//! `cargo xtask bench` runs the programs in `bin`, one for each kind of cost. No benchmark framework: a library that
//! is traced with keeps global state (subscribers, reporters, collector threads), so each case needs a process of its
//! own, and the processes have to take turns for their ratios to survive a busy machine. That is most of the harness;
//! what frameworks bring beyond it (statistics of one process) is a median here.

pub mod cases;
pub mod children;
pub mod measure;
pub mod table;
pub mod work;

use std::process::ExitCode;

/// How a program ends.
pub fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
