//! `cargo xtask demo`: the main job, as a reader of the README sees it.
//!
//! Its second and third act ask the program `tracer` what killed processes were doing, so that is built, too.

use crate::command::{self, cargo};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    // Built by a command of its own: the first build takes a while and is to show it, the demonstration is to show
    // nothing else.
    let build =
        ["build", "--package", "tracer-cli", "--bin", "tracer", "--package", "tracer-examples", "--example", "demo"];
    let demo = ["run", "--quiet", "--package", "tracer-examples", "--example", "demo"];
    for arguments in [&build[..], &demo] {
        command::run(cargo().args(arguments).current_dir(&workspace.root))?;
    }
    Ok(())
}
