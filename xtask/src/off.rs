//! `tests/off`: programs that are compiled with tracing off.
//!
//! The switch is a feature, and cargo unifies features over all packages of one build: were this
//! one among them, every other test would run without tracing too. So it always builds alone.

use std::path::PathBuf;
use std::process::Command;

use crate::workspace::Workspace;

const DIRECTORY: &str = "tests/off";

/// Its manifest, if it is there; it need not be a member of the workspace.
pub(crate) fn manifest(workspace: &Workspace) -> Option<PathBuf> {
    let manifest = workspace.root.join(DIRECTORY).join("Cargo.toml");
    manifest.is_file().then_some(manifest)
}

/// Keeps it out of a cargo command for the whole workspace.
pub(crate) fn exclude(workspace: &Workspace, command: &mut Command) {
    if let Some(package) = workspace.package_in(DIRECTORY) {
        command.args(["--exclude", &package.name]);
    }
}
