//! `chaos STORE… [--minutes M] [--seconds S] [--executions N] [--seed N] [--broken FAULT]`: see the library. It calls
//! itself as `chaos worker TARGET NAME DIRECTORY [FAULT | defaults]`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tracer::{Clock, SystemClock};
use tracer_chaos::history::{Fact, Log, now};
use tracer_chaos::recorded::Recorded;
use tracer_chaos::run::{Plan, run};
use tracer_chaos::target::{Kind, Target};
use tracer_chaos::work::{asked_to_end, worker};

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
        ["worker", target, name, directory, fault @ ..] => work(target, name, Path::new(directory), fault.first()),
        _ => chaos(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn chaos(arguments: &[&str]) -> Result<ExitCode, Error> {
    let mut kinds = Vec::new();
    let (mut executions, mut faults, mut seed, mut broken) = (100_000, Duration::from_mins(2), None, None);
    let mut arguments = arguments.iter();
    while let Some(&argument) = arguments.next() {
        let mut value = || arguments.next().copied().ok_or(format!("{argument} wants a value"));
        match argument {
            "--minutes" => faults = Duration::try_from_secs_f64(value()?.parse::<f64>()? * 60.0)?,
            "--seconds" => faults = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--executions" => executions = value()?.parse()?,
            "--seed" => seed = Some(value()?.parse()?),
            "--broken" => broken = Some(value()?.to_owned()),
            kind => kinds.push(kind.parse::<Kind>()?),
        }
    }
    if kinds.is_empty() {
        kinds = Kind::ALL.to_vec();
    }
    let mut is_right = true;
    for kind in kinds {
        let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
        let plan = Plan { kind, executions, faults, seed, broken: broken.clone() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let report = runtime.block_on(run(plan));
        println!("{report}");
        is_right &= report.violations.is_empty();
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn work(target: &str, name: &str, directory: &Path, fault: Option<&&str>) -> Result<ExitCode, Error> {
    let (target, log): (Target, Log) = (target.parse()?, Log::new(directory, name)?);
    let defaults = fault == Some(&"defaults");
    let fault = fault.filter(|_| !defaults).map(|fault| fault.parse()).transpose()?;
    // Some panic as they are to.
    std::panic::set_hook(Box::new(|_| {}));
    let wall = (SystemClock.unix_ns(SystemClock.ticks()) / 1_000_000_000).cast_signed();
    let true_wall = std::fs::metadata(log_touched(directory, name)?)?.modified()?;
    let true_wall = true_wall.duration_since(std::time::UNIX_EPOCH)?.as_secs().cast_signed();
    log.write(now(), [Fact::Began { skew_s: wall - true_wall }]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let end = asked_to_end();
        let store = loop {
            match target.open().await {
                Ok(store) => break store,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let running = worker(Recorded::new(store, log.clone(), fault), &log, name, defaults).start();
        end.await;
        running.shutdown(Duration::from_millis(300)).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// A file that the kernel, whose clock is right, has just written to.
fn log_touched(directory: &Path, name: &str) -> std::io::Result<std::path::PathBuf> {
    let path = directory.join(format!("{name}.began"));
    std::fs::write(&path, "")?;
    Ok(path)
}
