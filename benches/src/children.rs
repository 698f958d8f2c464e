//! Cases in processes of their own, which take turns.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cases::{self, Case};
use crate::measure::{self, Cost};

/// A program that has cases, and a case of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    program: PathBuf,
    /// Its place among the cases of the program.
    nth: usize,
    /// The heading of its group.
    pub group: String,
    /// The library and how it is set up.
    pub name: String,
}

/// Does what a child is told to do; `false` if this process is none.
///
/// # Panics
///
/// If it is told nonsense.
pub fn obey(arguments: &[&str]) -> bool {
    match *arguments {
        ["list"] => cases::all().iter().for_each(|case| println!("{}\t{}", case.group.heading(), case.name)),
        ["time", nth] => {
            let cost = measure::cost(&case(nth));
            println!("{} {}", cost.wall, cost.cpu);
        }
        ["call", nth, calls] => measure::only_call(&case(nth), calls.parse().expect("a number was given")),
        _ => return false,
    }
    true
}

/// The case that a child was told.
///
/// # Panics
///
/// If there is no such case: a parent names those that it was told of.
pub fn case(nth: &str) -> Case {
    cases::all()[nth.parse::<usize>().expect("a number was given")]
}

/// The cases of a program that [`obey`]s.
///
/// # Errors
///
/// If it cannot be run or ends badly.
pub fn of(program: &Path) -> Result<Vec<Child>, String> {
    let list = output(Command::new(program).arg("list"))?;
    let child = |(nth, line): (usize, &str)| {
        let (group, name) = line.split_once('\t').unwrap_or_default();
        Child { program: program.to_owned(), nth, group: group.to_owned(), name: name.to_owned() }
    };
    Ok(list.lines().enumerate().map(child).collect())
}

impl Child {
    /// Runs it once.
    ///
    /// # Errors
    ///
    /// If it cannot be run, ends badly or says something else than a cost.
    pub fn cost(&self) -> Result<Cost, String> {
        let [wall, cpu] = self.figures("time")?;
        Ok(Cost { wall, cpu })
    }

    /// The figures that it prints when it is told `what`.
    ///
    /// # Errors
    ///
    /// If it cannot be run, ends badly or says something else.
    pub fn figures<const COUNT: usize>(&self, what: &str) -> Result<[f64; COUNT], String> {
        let said = output(Command::new(&self.program).arg(what).arg(self.nth.to_string()))?;
        let figures = said.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<f64>>>();
        let figures = figures.and_then(|figures| figures.try_into().ok());
        figures.ok_or_else(|| format!("{} said {said:?}", self.name))
    }

    /// Instructions of a call in the thread that calls, in the steady state.
    ///
    /// # Errors
    ///
    /// If valgrind cannot be run or fails.
    pub fn instructions(&self) -> Result<f64, String> {
        const CALLS: u64 = 50_000;
        let file = self.program.with_file_name(format!("callgrind.{}.{}", std::process::id(), self.nth));
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--toggle-collect={}", measure::WATCHED));
        valgrind.arg(format!("--callgrind-out-file={}", file.display())).arg(&self.program);
        output(valgrind.args(["call", &self.nth.to_string(), &CALLS.to_string()]))?;
        let profile = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        std::fs::remove_file(&file).map_err(|error| error.to_string())?;
        let totals = profile?.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
        Ok(totals.ok_or_else(|| "callgrind wrote no totals".to_owned())? as f64 / CALLS as f64)
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
