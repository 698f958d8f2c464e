//! `cargo xtask demo`: the main job, as a reader of the README sees it.

use crate::command::{self, cargo};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let mut demo = cargo();
    demo.args(["run", "--quiet", "--package", "tracer-examples", "--example", "demo"]);
    command::run(demo.current_dir(&workspace.root))
}
