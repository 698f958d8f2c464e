//! One step of a command: run, timed, reported; and the summary of them all.

use std::time::{Duration, Instant};

use crate::workspace::Workspace;

pub(crate) struct Step {
    /// One word, by which the step can be asked for.
    pub(crate) name: &'static str,
    /// What it makes sure of.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Workspace) -> Result<Done, String>,
}

/// How a step went that did not fail.
#[derive(Debug, PartialEq)]
pub(crate) enum Done {
    Passed,
    /// So many tests were run, and passed. Never 0: that is a failure.
    Tests(u64),
    /// There is nothing in the workspace that the step could look at: not the same as passed.
    Absent(&'static str),
}

struct Report {
    name: &'static str,
    took: Duration,
    result: Result<Done, String>,
}

/// Runs the steps with these names, all if there are none, whatever becomes of those before.
pub(crate) fn run_all(steps: &[Step], names: &[&str], workspace: &Workspace) -> Result<(), String> {
    let chosen = choose(steps, names)?;
    let mut reports = Vec::new();
    for step in chosen {
        eprintln!("\n== {}: {}", step.name, step.about);
        let start = now();
        let result = (step.run)(workspace);
        let report = Report { name: step.name, took: start.elapsed(), result };
        eprintln!("== {}", report.line());
        reports.push(report);
    }
    eprintln!("\nsummary");
    for report in &reports {
        eprintln!("  {}", report.line());
    }
    verdict(&reports)
}

fn choose<'a>(steps: &'a [Step], names: &[&str]) -> Result<Vec<&'a Step>, String> {
    for name in names {
        if !steps.iter().any(|step| step.name == *name) {
            let known: Vec<_> = steps.iter().map(|step| step.name).collect();
            return Err(format!("no step `{name}`; there are {}", known.join(", ")));
        }
    }
    Ok(steps.iter().filter(|step| names.is_empty() || names.contains(&step.name)).collect())
}

fn verdict(reports: &[Report]) -> Result<(), String> {
    let failed: Vec<_> = reports.iter().filter(|report| report.result.is_err()).map(|report| report.name).collect();
    if !failed.is_empty() {
        return Err(format!("failed: {}", failed.join(", ")));
    }
    if reports.iter().all(|report| matches!(report.result, Ok(Done::Absent(_)))) {
        return Err("nothing was run".to_owned());
    }
    Ok(())
}

impl Report {
    fn line(&self) -> String {
        let (word, more) = match &self.result {
            Ok(Done::Passed) => ("passed", String::new()),
            Ok(Done::Tests(count)) => ("passed", format!("tests: {count}")),
            Ok(Done::Absent(why)) => ("absent", (*why).to_owned()),
            Err(message) => ("FAILED", message.clone()),
        };
        let line = format!("{word}  {:<10}{:>7.1} s  {more}", self.name, self.took.as_secs_f64());
        line.trim_end().to_owned()
    }
}

#[expect(clippy::disallowed_methods, reason = "times the steps of a build; nothing is traced here")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, result: Result<Done, String>) -> Report {
        Report { name, took: Duration::from_millis(1250), result }
    }

    #[test]
    fn one_failure_fails_the_whole_and_is_named() {
        let reports = [
            report("fmt", Ok(Done::Passed)),
            report("clippy", Err("`cargo clippy` ended with exit status: 101".to_owned())),
            report("loom", Ok(Done::Absent("nothing there"))),
        ];
        assert_eq!(verdict(&reports), Err("failed: clippy".to_owned()));
        assert_eq!(reports[1].line(), "FAILED  clippy        1.2 s  `cargo clippy` ended with exit status: 101");
        assert_eq!(reports[2].line(), "absent  loom          1.2 s  nothing there");
    }

    #[test]
    fn absent_steps_alone_are_no_success() {
        assert_eq!(verdict(&[report("fmt", Ok(Done::Passed)), report("a", Ok(Done::Absent("")))]), Ok(()));
        assert_eq!(verdict(&[report("a", Ok(Done::Absent("")))]), Err("nothing was run".to_owned()));
        assert_eq!(verdict(&[]), Err("nothing was run".to_owned()));
    }

    #[test]
    fn steps_are_chosen_by_name_in_their_own_order() {
        let step = |name| Step { name, about: "", run: |_| Ok(Done::Passed) };
        let steps = [step("one"), step("two"), step("three")];
        let names = |chosen: Vec<&Step>| chosen.iter().map(|step| step.name).collect::<Vec<_>>();
        assert_eq!(names(choose(&steps, &[]).unwrap()), ["one", "two", "three"]);
        assert_eq!(names(choose(&steps, &["three", "one"]).unwrap()), ["one", "three"]);
        let message = choose(&steps, &["four"]).map(names).unwrap_err();
        assert_eq!(message, "no step `four`; there are one, two, three");
    }
}
