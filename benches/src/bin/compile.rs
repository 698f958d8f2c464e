//! What a traced function costs to compile, and what it adds to the program.
//!
//! `compile --work DIRECTORY --out DIRECTORY`: writes crates of many functions that differ in one attribute, and runs
//! the compiler on each. The libraries are those that this package was built with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::resource::{UsageWho, getrusage};
use tracer_benches::table::{Column, Row, Table};

/// Functions in a crate.
const MANY: usize = 300;
/// In the one that tells the size of the functions from that of the library.
const FEW: usize = 30;
const TRIES: usize = 3;

/// Attributes for functions that return a `Result`.
const VARIANTS: [(&str, &str); 6] = [
    ("no attribute", ""),
    ("tracer", "#[tracer::traced_node]"),
    ("tracing, skip_all", "#[tracing::instrument(skip_all)]"),
    ("tracing, arguments and err", "#[tracing::instrument(err)]"),
    ("fastrace", "#[fastrace::trace]"),
    ("minitrace", "#[minitrace::trace]"),
];

const LIBRARIES: [&str; 4] = ["tracer", "tracing", "fastrace", "minitrace"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ["--work", work, "--out", out] = &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        eprintln!("usage: compile --work DIRECTORY --out DIRECTORY");
        return ExitCode::FAILURE;
    };
    tracer_benches::exit(run(Path::new(work), Path::new(out)))
}

#[derive(Clone, Copy)]
enum Shape {
    Sync,
    Async,
}

struct Compiler {
    /// `--extern` and `-L` for the libraries.
    libraries: Vec<String>,
    directory: PathBuf,
}

/// What one crate took.
#[derive(Clone, Copy)]
struct Cost {
    check_ms: f64,
    release_ms: f64,
    many_bytes: f64,
    few_bytes: f64,
}

fn run(work: &Path, out: &Path) -> Result<(), String> {
    std::fs::create_dir_all(work).map_err(|error| error.to_string())?;
    let compiler = Compiler { libraries: libraries()?, directory: work.to_owned() };
    let mut rows = Vec::new();
    for (shape, group) in [(Shape::Sync, "fn"), (Shape::Async, "async fn")] {
        let mut plain = None;
        for (name, attribute) in VARIANTS {
            eprintln!("   {group}, {name}");
            let cost = compiler.cost(shape, attribute)?;
            let base = *plain.get_or_insert(cost);
            let per_function = |part: fn(&Cost) -> f64| (part(&cost) - part(&base)) / MANY as f64;
            let slope = |cost: &Cost| (cost.many_bytes - cost.few_bytes) / (MANY - FEW) as f64;
            rows.push(Row {
                group: group.to_owned(),
                name: name.to_owned(),
                figures: vec![
                    Some(per_function(|cost| cost.check_ms)),
                    Some(per_function(|cost| cost.release_ms)),
                    Some(slope(&cost) - slope(&base)),
                    Some((cost.many_bytes - base.many_bytes) / 1024.0),
                ],
            });
        }
    }
    let column = |heading, digits| Column { heading, digits };
    let table = Table {
        title: "What the attribute adds to one function".to_owned(),
        columns: vec![
            column("check, CPU ms", 2),
            column("release, CPU ms", 2),
            column("program, bytes", 0),
            column("program of 300, KiB", 0),
        ],
        rows,
        notes: vec![
            format!("A crate of {MANY} functions, less the same without an attribute; user and system time of rustc,"),
            format!(
                "the best of {TRIES} tries. Programs are stripped; bytes a function: the slope from {FEW} to {MANY}."
            ),
        ],
    };
    table.publish(out, "compile")
}

/// Where cargo put what this package was built with.
fn libraries() -> Result<Vec<String>, String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--lib", "--quiet", "--message-format=json", "--manifest-path"]).arg(manifest);
    let output = cargo.output().map_err(|error| error.to_string())?;
    let artifacts: Vec<serde_json::Value> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let mut options = Vec::new();
    for library in LIBRARIES {
        let built = artifacts
            .iter()
            .find(|artifact| artifact["reason"] == "compiler-artifact" && artifact["target"]["name"] == library);
        let files = built.and_then(|artifact| artifact["filenames"].as_array()).into_iter().flatten();
        let rlib = files
            .filter_map(|file| file.as_str())
            .find(|file| Path::new(file).extension().is_some_and(|kind| kind == "rlib"));
        let rlib = rlib.ok_or_else(|| format!("cargo built no library `{library}`"))?;
        if options.is_empty() {
            let directory = Path::new(rlib).parent().ok_or("a file without a directory")?;
            options.push(format!("-Ldependency={}", directory.display()));
        }
        options.push(format!("--extern={library}={rlib}"));
    }
    Ok(options)
}

impl Compiler {
    fn cost(&self, shape: Shape, attribute: &str) -> Result<Cost, String> {
        let check = ["--crate-type=lib", "--emit=metadata"];
        let release = ["--crate-type=lib", "--emit=obj,metadata", "-Copt-level=3"];
        Ok(Cost {
            check_ms: self.best_ms(&functions(shape, attribute, MANY), &check)?,
            release_ms: self.best_ms(&functions(shape, attribute, MANY), &release)?,
            many_bytes: self.program_bytes(shape, attribute, MANY)?,
            few_bytes: self.program_bytes(shape, attribute, FEW)?,
        })
    }

    fn best_ms(&self, text: &str, options: &[&str]) -> Result<f64, String> {
        let mut best = f64::INFINITY;
        for _ in 0..TRIES {
            let before = cpu_ms()?;
            self.compile(text, options)?;
            best = best.min(cpu_ms()? - before);
        }
        Ok(best)
    }

    fn program_bytes(&self, shape: Shape, attribute: &str, count: usize) -> Result<f64, String> {
        let text = format!("{}{}", functions(shape, attribute, count), main_of(shape, count));
        self.compile(&text, &["--crate-type=bin", "--emit=link", "-Copt-level=3", "-Cstrip=symbols"])?;
        let program = std::fs::metadata(self.directory.join("functions")).map_err(|error| error.to_string())?;
        Ok(program.len() as f64)
    }

    fn compile(&self, text: &str, options: &[&str]) -> Result<(), String> {
        let file = self.directory.join("functions.rs");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-Adead_code"]).args(options).args(&self.libraries).arg(&file);
        let status = rustc.arg("--out-dir").arg(&self.directory).status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("rustc ended with {status}")) }
    }
}

fn functions(shape: Shape, attribute: &str, count: usize) -> String {
    let asynchronous = match shape {
        Shape::Sync => "",
        Shape::Async => "async ",
    };
    let mut text = String::new();
    for nth in 0..count {
        writeln!(
            text,
            "{attribute}\npub {asynchronous}fn function_{nth}(number: u64, text: &str) \
             -> Result<u64, std::num::ParseIntError> {{\n    let other: u64 = text.trim().parse()?;\n    \
             let sum = number.wrapping_add(other);\n    Ok(if sum % 2 == 0 {{ sum }} else {{ {nth} }})\n}}"
        )
        .expect("a string takes all");
    }
    text
}

/// A program that the linker may take none of the functions out of.
fn main_of(shape: Shape, count: usize) -> String {
    let mut text = "fn main() {\n    let text = std::env::args().next().unwrap_or_default();\n".to_owned();
    for nth in 0..count {
        let call = match shape {
            Shape::Sync => format!("function_{nth}(1, &text)"),
            Shape::Async => format!(
                "std::future::Future::poll(std::pin::pin!(function_{nth}(1, &text)), \
                 &mut std::task::Context::from_waker(std::task::Waker::noop()))"
            ),
        };
        writeln!(text, "    let _ = std::hint::black_box({call});").expect("a string takes all");
    }
    text + "}\n"
}

/// What the compilers that were run took so far.
fn cpu_ms() -> Result<f64, String> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| error.to_string())?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}
