//! What one traced call costs: nanoseconds, processor time, instructions.
//!
//! `calls --off PROGRAM --out DIRECTORY`, where `PROGRAM` is this one with every library compiled out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracer_benches::children::{self, Child};
use tracer_benches::measure::{Cost, median};
use tracer_benches::table::{Column, Row, Table};

const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if children::obey(&arguments) {
        return ExitCode::SUCCESS;
    }
    let ["--off", off, "--out", out] = arguments[..] else {
        eprintln!("usage: calls --off PROGRAM --out DIRECTORY");
        return ExitCode::FAILURE;
    };
    tracer_benches::exit(run(Path::new(off), Path::new(out)))
}

fn run(off: &Path, out: &Path) -> Result<(), String> {
    let own: PathBuf = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut cases = children::of(&own)?;
    for child in children::of(off)? {
        // The plain function is in both.
        if !cases.iter().any(|known| known.group == child.group && known.name == child.name) {
            cases.push(child);
        }
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); cases.len()];
    for round in 1..=ROUNDS {
        eprintln!("   round {round} of {ROUNDS}");
        for (case, costs) in cases.iter().zip(&mut costs) {
            costs.push(case.cost()?);
        }
    }
    eprintln!("   instructions");
    let instructions = cases.iter().map(Child::instructions).collect::<Result<Vec<_>, _>>()?;
    table(&cases, &costs, &instructions).publish(out, "calls")
}

const FLOOR: &str = "2 x TSC read";
const OURS: &str = "tracer, 1000 nodes a root";

fn table(cases: &[Child], costs: &[Vec<Cost>], instructions: &[f64]) -> Table {
    let row = |nth: usize| {
        let (case, own) = (&cases[nth], &costs[nth]);
        let find = |wanted: &dyn Fn(&Child) -> bool| cases.iter().position(wanted).map(|nth| &costs[nth]);
        let floor = find(&|case| case.name == FLOOR);
        let ours = find(&|other| other.group == case.group && other.name == OURS);
        Row {
            group: case.group.clone(),
            name: case.name.clone(),
            figures: vec![
                Some(median(&mut own.iter().map(|cost| cost.wall).collect::<Vec<_>>())),
                Some(median(&mut own.iter().map(|cost| cost.cpu).collect::<Vec<_>>())),
                floor.map(|floor| ratio(own, floor)),
                ours.map(|ours| ratio(own, ours)),
                Some(instructions[nth]),
            ],
        }
    };
    let column = |heading, digits| Column { heading, digits };
    Table {
        title: "One traced call, enter and end".to_owned(),
        columns: vec![
            column("ns", 1),
            column("CPU ns, all threads", 1),
            column("x floor", 2),
            column("x tracer", 2),
            column("instructions", 0),
        ],
        rows: (0..cases.len()).map(row).collect(),
        notes: vec![
            format!("Medians of {ROUNDS} interleaved rounds, a process for each case and round; ratios within a round."),
            format!("The floor is \"{FLOOR}\"; \"x tracer\" is to \"{OURS}\" of the same group."),
            "The plain call is included, and other threads are not in the instructions. Roots are spread over the nodes below them. tracer's memory is full, so it evicts."
                .to_owned(),
            "OpenTelemetry's batch processor drops what its queue of 2048 spans cannot take.".to_owned(),
        ],
    }
}

/// The median of the ratios in each round: what slows the machine slows both.
fn ratio(costs: &[Cost], to: &[Cost]) -> f64 {
    median(&mut costs.iter().zip(to).map(|(cost, to)| cost.wall / to.wall).collect::<Vec<_>>())
}
