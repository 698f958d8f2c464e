//! `cargo xtask chaos`: workers and stores are killed in the midst of executions. Short runs of it are among the tests.

use crate::command::{self, cargo};
use crate::tools;
use crate::workspace::Workspace;

pub(crate) fn run(options: &[&str], workspace: &Workspace) -> Result<(), String> {
    tools::servers()?;
    skew(workspace, true)?;
    let mut chaos = cargo();
    chaos.args(["run", "--release", "--quiet", "--package", "tracer-chaos", "--"]).args(options);
    command::run(chaos.current_dir(&workspace.root))
}

/// Builds what sets the clocks of workers wrong, where they look for it.
pub(crate) fn skew(workspace: &Workspace, release: bool) -> Result<(), String> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "tracer-chaos-skew"]);
    build.args(release.then_some("--release"));
    command::run(build.current_dir(&workspace.root))
}
