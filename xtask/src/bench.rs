//! `cargo xtask bench`: tracer beside its peers. The tables are printed and kept in `target/bench`.
//!
//! The benchmarks are a workspace of their own (its manifest says why), built into a directory of their own.

use std::path::Path;
use std::process::Command;

use crate::command::{self, cargo};
use crate::step::{Done, Step};
use crate::tools;
use crate::workspace::Workspace;

pub(crate) const STEPS: &[Step] = &[
    Step { name: "calls", about: "time and instructions of a traced call", run: calls },
    Step { name: "allocations", about: "allocations of a traced call", run: allocations },
    Step { name: "futures", about: "size of a traced future", run: futures },
    Step { name: "losses", about: "calls lost when the process is killed", run: losses },
    Step { name: "startup", about: "what a black box adds to a program that does nothing", run: startup },
    Step { name: "jobs", about: "what an execution costs that does nothing, on every store", run: jobs },
    Step { name: "compile", about: "compile time and size of a traced function", run: compile },
];

const MANIFEST: &str = "benches/Cargo.toml";
/// Job queues of others, in a workspace of their own, too.
const PEERS: &str = "benches/peers/Cargo.toml";

fn calls(workspace: &Workspace) -> Result<Done, String> {
    tools::valgrind()?;
    let built = workspace.kept("bench");
    let off = built.join("off");
    // In a directory of its own: the two builds have a program of the same name.
    build(workspace, &off, &["--bin", "calls", "--no-default-features", "--features", "off"])?;
    let off = off.join("release").join("calls");
    run(workspace, "calls", |bench| bench.arg("--off").arg(off))
}

fn allocations(workspace: &Workspace) -> Result<Done, String> {
    run(workspace, "allocations", |bench| bench)
}

fn futures(workspace: &Workspace) -> Result<Done, String> {
    run(workspace, "futures", |bench| bench)
}

fn losses(workspace: &Workspace) -> Result<Done, String> {
    run(workspace, "losses", |bench| bench)
}

fn startup(workspace: &Workspace) -> Result<Done, String> {
    for program in ["startup-empty", "startup-traced"] {
        build(workspace, &workspace.kept("bench"), &["--bin", program])?;
    }
    run(workspace, "startup", |bench| bench)
}

fn jobs(workspace: &Workspace) -> Result<Done, String> {
    jobs_with(&[], workspace).map(|()| Done::Passed)
}

/// With options of the program: `--quick` for fewer and smaller turns, and the parts that are wanted.
pub(crate) fn jobs_with(options: &[&str], workspace: &Workspace) -> Result<(), String> {
    tools::servers()?;
    let (built, peers) = (workspace.kept("bench"), workspace.kept("bench-peers"));
    build_package(PEERS, workspace, &peers, &[])?;
    build(workspace, &built, &["--bin", "jobs", "--features", "jobs"])?;
    let mut bench = Command::new(built.join("release").join("jobs"));
    bench.arg("--out").arg(workspace.root.join("target").join("bench"));
    bench.arg("--peers").arg(peers.join("release")).args(options);
    command::run(bench.current_dir(&workspace.root))
}

fn compile(workspace: &Workspace) -> Result<Done, String> {
    let work = workspace.kept("bench").join("functions");
    run(workspace, "compile", |bench| bench.arg("--work").arg(work))
}

fn run(workspace: &Workspace, name: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Result<Done, String> {
    let built = workspace.kept("bench");
    build(workspace, &built, &["--bin", name])?;
    let mut bench = Command::new(built.join("release").join(name));
    // One of them asks cargo for the libraries that it was built with.
    bench.env("CARGO", cargo().get_program()).env("CARGO_TARGET_DIR", &built);
    with(&mut bench).arg("--out").arg(workspace.root.join("target").join("bench"));
    command::run(bench.current_dir(&workspace.root))?;
    Ok(Done::Passed)
}

fn build(workspace: &Workspace, into: &Path, options: &[&str]) -> Result<(), String> {
    build_package(MANIFEST, workspace, into, options)
}

fn build_package(manifest: &str, workspace: &Workspace, into: &Path, options: &[&str]) -> Result<(), String> {
    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--locked"]).args(options);
    build.arg("--manifest-path").arg(manifest);
    command::run(build.env("CARGO_TARGET_DIR", into).current_dir(&workspace.root))
}
