//! What a black box adds to the start and the end of a program that does nothing.
//!
//! `startup --out DIRECTORY`. Two programs beside this one, `startup-empty` and `startup-traced`, take turns.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use tracer_benches::table::{Column, Row, Table};

/// Turns of each.
const TURNS: usize = 400;
/// Turns before, which are not counted.
const WARM_UP: usize = 20;

const PROGRAMS: [(&str, &str); 4] = [
    ("startup-empty", "an empty main"),
    ("startup-traced", "tracer_blackbox::init(), one traced call"),
    ("startup-traced", "the same, where one has ended before"),
    ("startup-traced", IN_A_FULL_DIRECTORY),
];

const IN_A_FULL_DIRECTORY: &str = "the same, where files have to go by and by";
/// More than stay in a directory.
const FILLED_BY: usize = 30;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--out", out] => tracer_benches::exit(run(Path::new(out))),
        _ => {
            eprintln!("usage: startup --out DIRECTORY");
            ExitCode::FAILURE
        }
    }
}

fn run(out: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let own = std::env::current_exe().map_err(text)?;
    let boxes = out.join(format!("startup-{}", std::process::id()));
    let (mut wall, mut cpu) = (PROGRAMS.map(|_| vec![]), PROGRAMS.map(|_| vec![]));
    let full = out.join(format!("startup-full-{}", std::process::id()));
    let start = |program: &str, directory: &Path| {
        let mut command = Command::new(own.with_file_name(program));
        command.env("TRACER_DIR", directory).stdin(Stdio::null()).stdout(Stdio::null());
        match command.status().map_err(text)? {
            status if status.success() => Ok(()),
            status => Err(format!("{program} ended with {status}")),
        }
    };
    for _ in 0..FILLED_BY {
        start("startup-traced", &full)?;
    }
    for turn in 0..WARM_UP + TURNS {
        for (nth, (program, what)) in PROGRAMS.iter().enumerate() {
            let directory = if *what == IN_A_FULL_DIRECTORY { &full } else { &boxes };
            let (before, begun) = (cpu_ms()?, Instant::now());
            start(program, directory)?;
            let (took, after) = (begun.elapsed(), cpu_ms()?);
            if turn >= WARM_UP {
                wall[nth].push(took.as_secs_f64() * 1e3);
                cpu[nth].push(after - before);
            }
        }
        // The directory is there from the second time on.
        for file in fs::read_dir(boxes.join("startup-traced")).map_err(text)? {
            fs::remove_file(file.map_err(text)?.path()).map_err(text)?;
        }
    }
    fs::remove_dir_all(&boxes).and_then(|()| fs::remove_dir_all(&full)).map_err(text)?;
    let means = wall.each_ref().map(|all| all.iter().sum::<f64>() / TURNS as f64);
    let (wall, cpu) = (wall.map(median), cpu.map(median));
    let row = |nth: usize| {
        let more = |of: &[f64]| (nth > 0).then(|| of[nth] - of[0]);
        Row {
            group: String::new(),
            name: PROGRAMS[nth].1.to_owned(),
            figures: vec![Some(wall[nth]), Some(cpu[nth]), more(&wall), more(&means)],
        }
    };
    Table {
        title: "From start to end of a program that does nothing".to_owned(),
        columns: ["ms", "CPU ms", "ms more", "mean"].map(|heading| Column { heading, digits: 3 }).into(),
        rows: (0..PROGRAMS.len()).map(row).collect(),
        notes: vec![format!("Medians of {TURNS} runs each, which took turns; with fork, exec and wait. Last, the mean of what is more: not each of \
             them has to delete files.")],
    }
    .publish(out, "startup")
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Of all children that have ended.
fn cpu_ms() -> Result<f64, String> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| error.to_string())?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}
