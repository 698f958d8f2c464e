//! `cargo xtask COMMAND`: what CI and a newcomer run.
//!
//! This file turns arguments into a command. What a command consists of is in the module named
//! after it; how a step runs and is reported, in `step`.

mod aarch64;
mod apt;
mod bench;
mod chaos;
mod check;
mod command;
mod crash;
mod demo;
mod models;
mod msrv;
mod off;
mod step;
mod test;
mod tools;
mod wasm;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const HELP: &str = "\
usage: cargo xtask COMMAND [STEP...]

  demo    run the demonstration: a traced web server, real requests, and its sudden death
  check   formatting, clippy, rustdoc, licences and sources of dependencies
  test    all tests, the ones that need another build included
  crash   programs are killed and files damaged, thousands of times
  bench   what a traced call and an execution cost, beside other libraries; for some parts, or a short run, of one of them:
          cargo xtask bench jobs [--quick] [drain | rows | prune | latency | checkpoints]
  chaos   workers and stores are killed in the midst of 100,000 executions, and an independent judge looks at the end:
          cargo xtask chaos [STORE...] [--minutes M] [--executions N] [--seed N]
  help    print this text

`check`, `test`, `crash` and `bench` run all their steps, or only those that are named:

";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        [] | ["help" | "-h" | "--help"] => {
            print!("{}", help());
            Ok(())
        }
        ["demo"] => demo::run(&Workspace::read()?),
        ["check", steps @ ..] => step::run_all(check::STEPS, steps, &Workspace::read()?),
        ["test", steps @ ..] => step::run_all(test::STEPS, steps, &Workspace::read()?),
        ["crash", steps @ ..] => step::run_all(crash::STEPS, steps, &Workspace::read()?),
        ["bench", "jobs", "--quick" | "drain" | "rows" | "prune" | "latency" | "checkpoints", ..] => {
            bench::jobs_with(&arguments[2..], &Workspace::read()?)
        }
        ["bench", steps @ ..] => step::run_all(bench::STEPS, steps, &Workspace::read()?),
        ["chaos", options @ ..] => chaos::run(options, &Workspace::read()?),
        [command @ ("demo" | "help"), ..] => Err(format!("`{command}` takes no arguments")),
        [command, ..] => Err(format!(
            "no command `{command}`; there are `demo`, `check`, `test`, `crash`, `bench`, `chaos` and `help`"
        )),
    }
}

fn help() -> String {
    let mut lines = vec![HELP.to_owned()];
    for (command, steps) in
        [("check", check::STEPS), ("test", test::STEPS), ("crash", crash::STEPS), ("bench", bench::STEPS)]
    {
        for step in steps {
            lines.push(format!("  {command:<6}{:<12} {}\n", step.name, step.about));
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_command_names_the_known_ones() {
        let message = run(&["tset"]).unwrap_err();
        assert_eq!(
            message,
            "no command `tset`; there are `demo`, `check`, `test`, `crash`, `bench`, `chaos` and `help`"
        );
    }

    #[test]
    fn help_lists_every_step() {
        let text = help();
        for step in check::STEPS.iter().chain(test::STEPS).chain(crash::STEPS).chain(bench::STEPS) {
            assert!(text.contains(&format!(" {} ", step.name)), "{} is missing in\n{text}", step.name);
        }
    }
}
