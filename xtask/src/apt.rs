//! Debian packages: what is missing is installed if we may, else the line to type is printed.

use std::process::Command;
use std::sync::Once;

use crate::command;

static UPDATED: Once = Once::new();

/// Makes sure that all these packages are installed. `what` says what they are needed for.
pub(crate) fn install(packages: &[&str], what: &str) -> Result<(), String> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = by_hand(&missing, what);
    let apt = || apt().ok_or_else(|| by_hand.clone());
    let mut outdated = None;
    let mut install = apt()?;
    UPDATED.call_once(|| {
        outdated = apt().and_then(|mut apt| command::run(apt.args(["update", "-q"]))).err();
    });
    // Lists that could not be renewed may still be good enough; the installation will tell.
    if let Some(error) = outdated {
        eprintln!("warning: {error}");
    }
    eprintln!("   installing {} for {what}", missing.join(", "));
    install.args(["install", "-q", "-y", "--no-install-recommends"]).args(&missing);
    command::run(&mut install).map_err(|error| format!("{error}; {by_hand}"))
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    command::output(&mut query).is_ok_and(|status| status == "installed")
}

pub(crate) fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// An `apt-get` that asks nothing, if we are root or may become root without a password.
fn apt() -> Option<Command> {
    let mut apt = if is_root() {
        Command::new("env")
    } else if command::succeeds(Command::new("sudo").args(["-n", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    } else {
        return None;
    };
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command::succeeds(Command::new("apt-get").arg("--version")).then_some(apt)
}

fn by_hand(missing: &[&str], what: &str) -> String {
    let packages = missing.join(" ");
    format!(
        "{what} needs {packages}; on Debian: \
         sudo apt-get update && sudo apt-get install --no-install-recommends {packages}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_to_type_names_only_what_is_missing() {
        assert_eq!(
            by_hand(&["nats-server"], "the store test"),
            "the store test needs nats-server; on Debian: \
             sudo apt-get update && sudo apt-get install --no-install-recommends nats-server"
        );
    }

    #[test]
    fn package_that_does_not_exist_is_not_installed() {
        assert!(!installed("no-such-package-here"));
    }
}
