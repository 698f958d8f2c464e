//! `cargo xtask crash`: programs are killed, files damaged, and what is left is read; more often than `cargo test` does,
//! and under sanitizers.

use std::process::Command;

use crate::aarch64;
use crate::apt;
use crate::command::{self, cargo};
use crate::step::{Done, Step};
use crate::test::run_tests;
use crate::tools;
use crate::workspace::Workspace;

pub(crate) const STEPS: &[Step] = &[
    Step { name: "kills", about: "SIGKILL, 2,000 times: no acknowledged step is lost", run: kills },
    Step { name: "damage", about: "everything else that happens to programs and files", run: damage },
    Step { name: "root", about: "what only root can do to a program: no memory, no disk", run: root },
    Step {
        name: "speed",
        about: "64 MiB are searched in 100 ms, or in 200 if they are 160,000 traces that changed threads",
        run: speed,
    },
    Step { name: "asan", about: "the black box under AddressSanitizer", run: address },
    Step { name: "tsan", about: "the black box under ThreadSanitizer", run: threads },
    Step { name: "fuzz", about: "a minute of bytes that nobody wrote", run: fuzz },
    Step { name: "aarch64", about: "the black box on 64-bit ARM, in an emulator", run: aarch64::test },
];

/// In each of four tests.
const KILLS: &str = "500";

fn crash() -> Command {
    let mut tests = cargo();
    tests.args(["test", "--release", "--package", "tracer-crash", "--test", "crash", "--"]);
    tests
}

fn kills(workspace: &Workspace) -> Result<Done, String> {
    let mut tests = crash();
    tests.args(["kills", "--nocapture"]).env("TRACER_KILLS", KILLS);
    run_tests(workspace, &mut tests)
}

fn damage(workspace: &Workspace) -> Result<Done, String> {
    run_tests(workspace, crash().args(["--skip", "kills"]))
}

/// Also one of the tests: what runs elsewhere is most of them, and no test says that it passed where it was not run.
pub(crate) fn root(workspace: &Workspace) -> Result<Done, String> {
    if !apt::is_root() {
        return Ok(Done::Absent("not root: no right to mount disks and limit memory"));
    }
    apt::install(&["bindfs"], "a directory that another process stands before")?;
    let mut tests = cargo();
    tests.args(["test", "--package", "tracer-crash", "--test", "crash", "--", "as_root", "--ignored"]);
    run_tests(workspace, &mut tests)
}

fn speed(workspace: &Workspace) -> Result<Done, String> {
    run_tests(workspace, crash().args(["speed", "--ignored", "--nocapture", "--test-threads=1"]))
}

fn address(workspace: &Workspace) -> Result<Done, String> {
    let mut tests = cargo();
    // What is lent out for ever is not given back, and looks like a leak.
    tests.env("ASAN_OPTIONS", "detect_leaks=0");
    sanitized(workspace, tests, "address")
}

fn threads(workspace: &Workspace) -> Result<Done, String> {
    command::run(Command::new("rustup").args(["component", "add", "rust-src"]))?;
    let mut tests = cargo();
    // Of a standard library that is not built for it, it would not see what a lock orders.
    tests.arg("-Zbuild-std");
    sanitized(workspace, tests, "thread")
}

fn sanitized(workspace: &Workspace, mut tests: Command, sanitizer: &str) -> Result<Done, String> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    tests.args(["test", "--package", "tracer-blackbox", "--tests", "--target", &target]);
    // A thread alone, on every page that there can be: minutes for nothing that a sanitizer looks at.
    tests.args(["--", "--skip", "an_entry_is_copied_with_its_detail_or_not_at_all"]);
    tests.env("RUSTFLAGS", format!("{flags} -Zsanitizer={sanitizer}").trim()).env("RUSTC_BOOTSTRAP", "1");
    // A target of its own, so that build scripts and macros are built without it.
    tests.env("CARGO_TARGET_DIR", workspace.kept(sanitizer));
    run_tests(workspace, &mut tests)
}

fn fuzz(workspace: &Workspace) -> Result<Done, String> {
    let mut fuzz = tools::cargo_fuzz(workspace)?;
    fuzz.args(["run", "recover", "--", "-max_total_time=60", "-max_len=4096"]);
    fuzz.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", workspace.kept("fuzz"));
    command::run(fuzz.current_dir(workspace.root.join("fuzz")))?;
    Ok(Done::Passed)
}
