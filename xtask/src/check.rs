//! `cargo xtask check`: what can be said about the code without running it.

use std::process::Command;

use crate::command::{self, cargo};
use crate::msrv;
use crate::off;
use crate::step::{Done, Step};
use crate::tools;
use crate::workspace::Workspace;

pub(crate) const STEPS: &[Step] = &[
    Step { name: "fmt", about: "the code is formatted", run: fmt },
    Step { name: "clippy", about: "no lint fires, in any target", run: clippy },
    Step { name: "doc", about: "the documentation builds without a warning", run: doc },
    Step { name: "msrv", about: "what claims to compile with an old compiler does", run: msrv::check },
    Step { name: "deny", about: "licences, bans and sources of dependencies", run: deny },
];

fn fmt(workspace: &Workspace) -> Result<Done, String> {
    passed(workspace, cargo().args(["fmt", "--all", "--check"]))?;
    // Workspaces of their own, of which nothing else is checked here: their dependencies take minutes to build.
    passed(workspace, cargo().args(["fmt", "--check", "--manifest-path", "benches/Cargo.toml"]))?;
    passed(workspace, cargo().args(["fmt", "--check", "--manifest-path", "benches/peers/Cargo.toml"]))
}

fn clippy(workspace: &Workspace) -> Result<Done, String> {
    let deny_warnings = ["--", "-D", "warnings"];
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets"]);
    off::exclude(workspace, &mut clippy);
    passed(workspace, clippy.args(deny_warnings))?;
    let mut clippy = cargo();
    clippy.args(["clippy", "--all-targets", "--package", "tracer-cli", "--features", "dynamodb"]);
    passed(workspace, clippy.args(deny_warnings))?;
    if let Some(manifest) = off::manifest(workspace) {
        let mut clippy = cargo();
        clippy.args(["clippy", "--all-targets", "--manifest-path"]).arg(manifest);
        passed(workspace, clippy.args(deny_warnings))?;
    }
    Ok(Done::Passed)
}

fn doc(workspace: &Workspace) -> Result<Done, String> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    off::exclude(workspace, &mut doc);
    passed(workspace, &mut doc)
}

fn deny(workspace: &Workspace) -> Result<Done, String> {
    let mut deny = tools::cargo_deny(workspace)?;
    passed(workspace, deny.args(["check", "bans", "licenses", "sources"]))
}

fn passed(workspace: &Workspace, command: &mut Command) -> Result<Done, String> {
    command::run(command.current_dir(&workspace.root))?;
    Ok(Done::Passed)
}
