//! `cargo xtask test`: all tests, those that need a build of their own included.

use std::process::Command;

use crate::command::{self, cargo};
use crate::crash;
use crate::models;
use crate::off;
use crate::step::{Done, Step};
use crate::tools;
use crate::wasm;
use crate::workspace::Workspace;

pub(crate) const STEPS: &[Step] = &[
    Step { name: "workspace", about: "unit, integration, compile and doc tests", run: workspace },
    Step { name: "root", about: "what only root can do to a traced program", run: crash::root },
    Step { name: "off", about: "programs that are compiled with tracing off", run: tracing_off },
    Step { name: "dynamodb", about: "the command line with what it has only if asked for", run: dynamodb },
    Step { name: "loom", about: "every interleaving of what threads share", run: models::loom },
    Step { name: "shuttle", about: "random schedules of what threads share", run: models::shuttle },
    Step { name: "wasm", about: "tracer compiles for wasm32-unknown-unknown", run: wasm::check },
];

fn workspace(workspace: &Workspace) -> Result<Done, String> {
    tools::servers()?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    off::exclude(workspace, &mut tests);
    run_tests(workspace, &mut tests)
}

fn tracing_off(workspace: &Workspace) -> Result<Done, String> {
    let Some(manifest) = off::manifest(workspace) else {
        return Ok(Done::Absent("there is no tests/off"));
    };
    let mut tests = cargo();
    run_tests(workspace, tests.args(["test", "--no-fail-fast", "--manifest-path"]).arg(manifest))
}

/// A feature that is off unless asked for: what others test is the program without it.
fn dynamodb(workspace: &Workspace) -> Result<Done, String> {
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast", "--package", "tracer-cli", "--features", "dynamodb", "--", "dynamodb"]);
    run_tests(workspace, &mut tests)
}

/// Runs a `cargo test`; that it ran no test at all is a failure.
pub(crate) fn run_tests(workspace: &Workspace, tests: &mut Command) -> Result<Done, String> {
    let mut count = 0;
    command::run_reading(tests.current_dir(&workspace.root), |line| count += passed(line))?;
    match count {
        0 => Err(format!("`{}` ran no test", command::shown(tests))),
        count => Ok(Done::Tests(count)),
    }
}

/// How many tests passed, if this is the closing line of a test binary.
fn passed(line: &str) -> u64 {
    let count = || line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse().ok();
    count().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_closing_lines_are_counted() {
        let closing = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(passed(closing), 12);
        assert_eq!(passed("test one_passed ... ok"), 0);
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed; 0 ignored"), 0);
    }

    #[test]
    fn a_run_without_a_test_fails() {
        let workspace = Workspace { root: ".".into(), packages: Vec::new() };
        let line = |count| {
            let mut echo = Command::new("echo");
            echo.arg(format!("test result: ok. {count} passed; 0 failed"));
            run_tests(&workspace, &mut echo)
        };
        assert_eq!(line(2), Ok(Done::Tests(2)));
        assert!(line(0).unwrap_err().ends_with(" ran no test"));
    }
}
