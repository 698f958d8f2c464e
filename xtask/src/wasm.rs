//! `tracer` compiles for `wasm32-unknown-unknown`, where there is no clock, no thread and no file.

use std::process::Command;

use crate::apt;
use crate::command::{self, cargo};
use crate::step::Done;
use crate::tools;
use crate::workspace::Workspace;

const TARGET: &str = "wasm32-unknown-unknown";

/// A compiler with its library's sources, for machines where rustup cannot add a target.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

pub(crate) fn check(workspace: &Workspace) -> Result<Done, String> {
    let mut check = if tools::has_library(TARGET)? || add_target() {
        cargo()
    } else {
        apt::install(DEBIAN_PACKAGES, &format!("compiling for {TARGET}"))
            .map_err(|error| format!("{error}; or: rustup target add {TARGET}"))?;
        debian_cargo()
    };
    check.args(["check", "--package", "tracer", "--target", TARGET]);
    check.env("CARGO_TARGET_DIR", workspace.kept("wasm"));
    command::run(check.current_dir(&workspace.root))?;
    Ok(Done::Passed)
}

fn add_target() -> bool {
    eprintln!("   the standard library for {TARGET} is missing: installing it with rustup");
    match command::run(Command::new("rustup").args(["target", "add", TARGET])) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("   {error}; trying Debian's compiler");
            false
        }
    }
}

/// Debian's own cargo and rustc, building the standard library from source: an unstable option
/// that they accept with `RUSTC_BOOTSTRAP`. The library is built once and kept with the rest.
fn debian_cargo() -> Command {
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTDOC", "/usr/bin/rustdoc");
    // What rustup set for its own compiler would make this one load the wrong libraries.
    cargo.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
    cargo
}
