//! Tests of what threads share, under a scheduler that decides who runs.
//!
//! A package has such tests if it depends on `loom` or `shuttle` under a cfg, as in
//! `[target.'cfg(loom)'.dev-dependencies]`. They are the tests with that cfg's name in their own,
//! for example in a module `loom`; the others do not run in such a build.

use crate::command::cargo;
use crate::step::Done;
use crate::test::run_tests;
use crate::workspace::Workspace;

pub(crate) fn loom(workspace: &Workspace) -> Result<Done, String> {
    run(workspace, "loom", "no package depends on loom under a cfg")
}

pub(crate) fn shuttle(workspace: &Workspace) -> Result<Done, String> {
    run(workspace, "shuttle", "no package depends on shuttle under a cfg")
}

fn run(workspace: &Workspace, tool: &str, absent: &'static str) -> Result<Done, String> {
    let mut count = 0;
    for (package, cfg) in packages(workspace, tool) {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        let flags = format!("{flags} --cfg {cfg}");
        let mut tests = cargo();
        // Optimised, because these tests run the same code many thousand times; in a directory of
        // their own, because other flags would build everything else anew.
        tests.args(["test", "--release", "--tests", "--package", package, cfg]);
        tests.env("RUSTFLAGS", flags.trim()).env("CARGO_TARGET_DIR", workspace.kept(tool));
        match run_tests(workspace, &mut tests)? {
            Done::Tests(more) => count += more,
            Done::Passed | Done::Absent(_) => {}
        }
    }
    Ok(if count == 0 { Done::Absent(absent) } else { Done::Tests(count) })
}

/// The packages that use `tool`, with the cfg that each uses it under.
fn packages<'a>(workspace: &'a Workspace, tool: &str) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        let mut uses = package.dependencies.iter().filter(|dependency| dependency.name == tool);
        if let Some(cfg) = uses.find_map(|dependency| dependency.cfg.as_deref()) {
            found.push((&*package.name, cfg));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Package};

    #[test]
    fn packages_are_found_by_a_dependency_under_a_cfg() {
        let package = |name: &str, cfg: Option<&str>| Package {
            name: name.to_owned(),
            rust_version: None,
            directory: name.into(),
            dependencies: vec![Dependency { name: "loom".to_owned(), cfg: cfg.map(str::to_owned) }],
        };
        let packages_in = vec![package("ring", Some("ring_loom")), package("plain", None)];
        let workspace = Workspace { root: "/w".into(), packages: packages_in };
        assert_eq!(packages(&workspace, "loom"), [("ring", "ring_loom")]);
        assert_eq!(packages(&workspace, "shuttle"), []);
    }
}
