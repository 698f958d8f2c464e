//! `cargo xtask chaos`: workers and stores are killed in the midst of executions. Short runs of it are among the tests.

use crate::command::{self, cargo};
use crate::tools;
use crate::workspace::Workspace;

pub(crate) fn run(options: &[&str], workspace: &Workspace) -> Result<(), String> {
    tools::servers()?;
    let mut chaos = cargo();
    chaos.args(["run", "--release", "--quiet", "--package", "tracer-chaos", "--"]).args(options);
    command::run(chaos.current_dir(&workspace.root))
}
