//! What claims to compile with an old compiler compiles with that very compiler, not only with lints that guess.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, cargo};
use crate::step::Done;
use crate::workspace::Workspace;

/// What `tracer` and `tracer-macros` ask for; Debian 12 and 13 have it.
const OLDEST: &str = "1.85.0";

/// Debian's compiler and its library: of Debian 13, and of Debian 12 where browsers are built with it.
const DEBIAN_PACKAGES: [[&str; 2]; 2] = [["rustc", "libstd-rust-dev"], ["rustc-web", "libstd-rust-web-dev"]];

pub(crate) fn check(workspace: &Workspace) -> Result<Done, String> {
    let mut check = cargo();
    check.arg("check");
    for package in
        workspace.packages.iter().filter(|package| package.rust_version.as_deref() == OLDEST.strip_suffix(".0"))
    {
        check.args(["--package", &package.name]);
    }
    check.env("RUSTC", compiler(workspace)?).env("CARGO_TARGET_DIR", workspace.kept("msrv"));
    command::run(check.current_dir(&workspace.root))?;
    Ok(Done::Passed)
}

/// Rustup's, where it has one or can fetch it; else Debian's, unpacked in `target` beside whatever is installed.
fn compiler(workspace: &Workspace) -> Result<PathBuf, String> {
    let directory = workspace.kept("msrv").join(OLDEST);
    let unpacked = directory.join("rustc");
    if is_oldest(&unpacked) {
        return Ok(unpacked);
    }
    if let Some(compiler) = rustup() {
        return Ok(compiler);
    }
    eprintln!("   there is no rustc {OLDEST}: unpacking Debian's in target");
    let by_hand = format!("install it by hand: rustup toolchain install --profile minimal {OLDEST}");
    unpack(&directory).map_err(|error| format!("{error}; {by_hand}"))?;
    write_starter(&unpacked, &directory.join("usr")).map_err(|error| format!("{}: {error}", unpacked.display()))?;
    if is_oldest(&unpacked) { Ok(unpacked) } else { Err(format!("Debian's rustc {OLDEST} does not run; {by_hand}")) }
}

fn rustup() -> Option<PathBuf> {
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", "--profile", "minimal", "--no-self-update", OLDEST]);
    let which = || command::output(Command::new("rustup").args(["which", "--toolchain", OLDEST, "rustc"])).ok();
    let found = which().or_else(|| command::succeeds(&mut install).then(which)?)?;
    Some(PathBuf::from(found.trim()))
}

fn is_oldest(compiler: &Path) -> bool {
    command::output(Command::new(compiler).arg("--version")).is_ok_and(|version| version.contains(OLDEST))
}

/// Fetches the packages, and those that they need and that are missing, and unpacks them: nothing is installed, so
/// that no other compiler has to go.
fn unpack(directory: &Path) -> Result<(), String> {
    let archives = directory.join("archives");
    fs::create_dir_all(archives.join("partial")).map_err(|error| format!("{}: {error}", archives.display()))?;
    let find = || DEBIAN_PACKAGES.into_iter().find_map(|names| Some((names, on_offer(names[0])?)));
    let found = find().or_else(|| {
        command::run(Command::new("apt-get").args(["update", "-q"])).ok()?;
        find()
    });
    let (names, version) = found.ok_or_else(|| format!("Debian has no rustc {OLDEST} here"))?;
    let mut download = Command::new("apt-get");
    download.args(["install", "-q", "-y", "--download-only", "--no-install-recommends", "--allow-downgrades"]);
    download.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display()));
    command::run(download.args(names.map(|name| format!("{name}={version}"))))?;
    let files = fs::read_dir(&archives).map_err(|error| error.to_string())?.flatten().map(|file| file.path());
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "deb")) {
        command::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(directory))?;
    }
    Ok(())
}

/// The version of the package that is the oldest compiler that we support, if Debian offers it.
fn on_offer(package: &str) -> Option<String> {
    command::output(Command::new("apt-cache").args(["madison", package])).ok()?.lines().find_map(oldest)
}

/// The version in a line of `apt-cache madison` (`rustc | 1.85.0+dfsg3-1 | http://…`), if it is that one.
fn oldest(line: &str) -> Option<String> {
    let version = line.split('|').nth(1)?.trim();
    version.strip_prefix(OLDEST)?.starts_with(['+', '-']).then(|| version.to_owned())
}

/// A compiler that finds its libraries where they were unpacked.
fn write_starter(file: &Path, usr: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let usr = usr.display();
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{usr}/lib/{arch}-linux-gnu:{usr}/lib' exec '{usr}/bin/rustc' --sysroot '{usr}' \"$@\"\n",
        arch = std::env::consts::ARCH
    );
    fs::write(file, script)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_version_is_taken() {
        let line =
            |version| format!(" rustc-web | {version} | http://deb.debian.org/debian bookworm/main amd64 Packages");
        let deb12 = "1.85.0+dfsg3-1~deb12u3";
        assert_eq!(oldest(&line(deb12)).as_deref(), Some(deb12));
        assert_eq!(oldest(&line("1.96.0+dfsg1-1~deb12u2")), None);
        assert_eq!(oldest(&line("1.85.01-1")), None);
        assert_eq!(oldest(""), None);
    }
}
