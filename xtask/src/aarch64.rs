//! The black box on 64-bit ARM, in an emulator: its own tests there, and programs of there that are killed and read here.
//!
//! The emulator's memory is ordered as that of the machine it runs on; in which order others may see stores is for the
//! models (`loom`) to say.

use std::process::Command;

use crate::apt;
use crate::command::{self, cargo};
use crate::step::Done;
use crate::test::run_tests;
use crate::tools;
use crate::workspace::Workspace;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const PACKAGES: &[&str] = &["qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
const RUNNER: &str = "qemu-aarch64 -L /usr/aarch64-linux-gnu";

/// What takes minutes in an emulator and has nothing to do with the processor.
const SLOW: &[&str] =
    &["a_trace_of_many_recoveries_is_counted_in_time", "an_entry_is_copied_with_its_detail_or_not_at_all"];

pub(crate) fn test(workspace: &Workspace) -> Result<Done, String> {
    apt::install(PACKAGES, "programs of another processor")?;
    if !tools::has_library(TARGET)? {
        command::run(Command::new("rustup").args(["target", "add", TARGET]))?;
    }
    // A directory of its own, or whoever builds for this machine meanwhile would wait.
    let directory = workspace.kept("aarch64");
    let there = |verb: &str| {
        let mut cargo = cargo();
        cargo.args([verb, "--target", TARGET]).env("CARGO_TARGET_DIR", &directory);
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", RUNNER);
        cargo
    };
    let mut tests = there("test");
    tests.args([
        "--package",
        "tracer",
        "--package",
        "tracer-blackbox",
        "--lib",
        "--test",
        "recorder",
        "--test",
        "steady",
    ]);
    tests.args(["--no-fail-fast", "--"]).args(SLOW.iter().flat_map(|name| ["--skip", name]));
    let own = run_tests(workspace, &mut tests)?;

    let mut child = there("build");
    child.args(["--package", "tracer-crash", "--bin", "crash-child"]);
    command::run(child.current_dir(&workspace.root))?;
    let mut tests = cargo();
    tests.args([
        "test",
        "--package",
        "tracer-crash",
        "--test",
        "crash",
        "--",
        "kills",
        "deaths::killed",
        "deaths::control_what",
    ]);
    tests.env("TRACER_CHILD", directory.join(TARGET).join("debug/crash-child")).env("TRACER_CHILD_RUNNER", RUNNER);
    match (own, run_tests(workspace, &mut tests)?) {
        (Done::Tests(there), Done::Tests(here)) => Ok(Done::Tests(there + here)),
        (_, done) => Ok(done),
    }
}
