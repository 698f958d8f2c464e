//! `cargo xtask demo`: the main job, as a reader of the README sees it.

use crate::command::{self, cargo};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    // Built by a command of its own: the first build takes a while and is to show it, the demonstration is to show
    // nothing else.
    for verb in [&["build"][..], &["run", "--quiet"]] {
        let mut demo = cargo();
        demo.args(verb).args(["--package", "tracer-examples", "--example", "demo"]);
        command::run(demo.current_dir(&workspace.root))?;
    }
    Ok(())
}
