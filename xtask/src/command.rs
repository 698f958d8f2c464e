//! Running other programs: prints what it runs, and makes a failure one clear line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end with our own output and no input.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    announce(command);
    let status = command.stdin(Stdio::null()).status();
    check(command, status)
}

/// Like [`run`], handing each line of standard output to `on_line` after passing it on.
pub(crate) fn run_reading(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<(), String> {
    announce(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| cannot_start(command, &error))?;
    let stdout = child.stdout.take().expect("standard output was asked for above");
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    // Bytes, not `lines()`: a test may print what is not UTF-8.
    while stdout.read_until(b'\n', &mut line).map_err(|error| error.to_string())? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        on_line(text.trim_end());
        line.clear();
    }
    check(command, child.wait())
}

/// What the command prints on standard output; on failure, what it said on standard error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` ended with {}: {}", shown(command), output.status, said.trim()))
}

/// Whether the command can be run and succeeds; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok()
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            text += &[&*name.to_string_lossy(), "=", &*quoted(value), " "].concat();
        }
    }
    let program = command.get_program();
    // A cargo that was found by its full path is still `cargo` to the reader.
    text += &if command.get_program() == cargo().get_program() { "cargo".to_owned() } else { quoted(program) };
    for argument in command.get_args() {
        text += " ";
        text += &quoted(argument);
    }
    text
}

fn announce(command: &Command) {
    eprintln!("   $ {}", shown(command));
}

fn check(command: &Command, status: std::io::Result<ExitStatus>) -> Result<(), String> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", shown(command))),
        Err(error) => Err(cannot_start(command, &error)),
    }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", shown(command))
}

fn quoted(word: &OsStr) -> String {
    let word = word.display().to_string();
    if word.is_empty() || word.contains([' ', '\'', '"', '$', '*', '&', ';']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_can_be_typed_again() {
        let mut command = Command::new("cargo-x");
        command.args(["doc", "it's"]).env("RUSTDOCFLAGS", "-D warnings").env_remove("RUSTFLAGS");
        assert_eq!(shown(&command), r"RUSTDOCFLAGS='-D warnings' cargo-x doc 'it'\''s'");
    }

    #[test]
    fn failure_names_the_command_and_its_status() {
        let message = run(&mut Command::new("false")).unwrap_err();
        assert_eq!(message, "`false` ended with exit status: 1");
        let message = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(message.starts_with("cannot start `no-such-program-here`: "), "{message}");
    }

    #[test]
    fn lines_are_read_though_they_are_not_utf8() {
        let mut lines = Vec::new();
        let mut command = Command::new("printf");
        command.arg(r"one\n\377two");
        run_reading(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "\u{fffd}two"]);
    }
}
