//! What the workspace holds, asked of cargo, so that steps find packages by what they are.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command;

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root.
    pub(crate) directory: PathBuf,
    /// The oldest compiler that it claims to compile with.
    pub(crate) rust_version: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `loom` in `[target.'cfg(loom)'.dependencies]`.
    pub(crate) cfg: Option<String>,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self, String> {
        let mut command = command::cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        command.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        Self::parse(&command::output(&mut command)?)
    }

    /// Where steps keep what is worth keeping: a directory of their own inside `target`.
    pub(crate) fn kept(&self, name: &str) -> PathBuf {
        self.root.join("target").join("xtask").join(name)
    }

    pub(crate) fn package_in(&self, directory: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.directory == Path::new(directory))
    }

    fn parse(metadata: &str) -> Result<Self, String> {
        let metadata: Value = serde_json::from_str(metadata).map_err(|error| error.to_string())?;
        let root = metadata["workspace_root"].as_str();
        let root = PathBuf::from(root.ok_or("cargo metadata names no workspace root")?);
        let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
        let packages = packages.iter().filter_map(|package| Package::parse(package, &root));
        Ok(Self { packages: packages.collect(), root })
    }
}

impl Package {
    fn parse(package: &Value, root: &Path) -> Option<Self> {
        let directory = Path::new(package["manifest_path"].as_str()?).parent()?;
        let dependencies = package["dependencies"].as_array()?.iter();
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            directory: directory.strip_prefix(root).ok()?.to_owned(),
            rust_version: package["rust_version"].as_str().map(str::to_owned),
            dependencies: dependencies.filter_map(Dependency::parse).collect(),
        })
    }
}

impl Dependency {
    fn parse(dependency: &Value) -> Option<Self> {
        let target = dependency["target"].as_str();
        let cfg = target.and_then(|target| target.strip_prefix("cfg(")?.strip_suffix(')'));
        Some(Self { name: dependency["name"].as_str()?.to_owned(), cfg: cfg.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_workspace_is_read() {
        let workspace = Workspace::read().unwrap();
        assert_eq!(workspace.package_in("xtask").map(|package| &*package.name), Some("xtask"));
        assert_eq!(workspace.package_in("no/such/place"), None);
    }

    #[test]
    fn dependencies_keep_the_cfg_they_are_for() {
        let metadata = r#"{"workspace_root": "/w", "packages": [{
            "name": "ring", "manifest_path": "/w/crates/ring/Cargo.toml", "dependencies": [
                {"name": "serde", "target": null},
                {"name": "loom", "target": "cfg(loom)"},
                {"name": "libc", "target": "x86_64-unknown-linux-gnu"}
            ]}]}"#;
        let workspace = Workspace::parse(metadata).unwrap();
        let dependency =
            |name: &str, cfg: Option<&str>| Dependency { name: name.to_owned(), cfg: cfg.map(str::to_owned) };
        assert_eq!(
            workspace.package_in("crates/ring").unwrap().dependencies,
            [dependency("serde", None), dependency("loom", Some("loom")), dependency("libc", None)]
        );
    }
}
