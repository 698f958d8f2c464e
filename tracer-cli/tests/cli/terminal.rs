//! What depends on where the output goes.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::world::{BEGIN_NS, World, handled, three_traces};

#[test]
fn colours_are_for_terminals() {
    let world = three_traces();
    assert!(!world.run("ls").out.contains('\u{1b}'));
    assert!(!world.run("ls --color never").out.contains('\u{1b}'));
    assert!(world.run("ls --color always").out.contains("\u{1b}[32m"));
    assert!(world.run("show --color always").out.contains("\u{1b}[33m…\u{1b}[0m"));
    assert!(!world.run("ls --color always --json").out.contains('\u{1b}'));
}

/// Through `script`, which gives the program a terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colours_unless_it_is_asked_not_to() {
    let world = three_traces();
    let on_terminal = |arguments: &str, no_color: &str, term: &str| {
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_tracer"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(world.path(""));
        script.env_remove("TRACER_DIR").env("NO_COLOR", no_color).env("TERM", term).stdin(Stdio::null());
        let output = script.output().ok()?;
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let Some(coloured) = on_terminal("ls", "", "xterm") else {
        println!("skipped: there is no `script` here");
        return;
    };
    assert!(coloured.contains("\u{1b}[1;31m✗\u{1b}[0m charge"), "{coloured:?}");
    for (arguments, no_color, term) in [("ls", "1", "xterm"), ("ls", "", "dumb"), ("ls --color never", "", "xterm")] {
        let plain = on_terminal(arguments, no_color, term).unwrap();
        assert!(plain.contains("✗ charge") && !plain.contains('\u{1b}'), "{plain:?}");
    }
    assert!(on_terminal("ls --color always", "1", "dumb").unwrap().contains('\u{1b}'));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let world = World::new();
    let traces: Vec<_> = (1..=3000_u64).flat_map(|nth| handled(&format!("{nth:x}"), BEGIN_NS + nth)).collect();
    world.write_records(".tracer/a.jsonl", &traces);
    for verb in ["ls", "tail -n 100000", "stats", "ls --json"] {
        let mut child = world.command(verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()), "{verb}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let world = three_traces();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = world.command("ls").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: the standard output cannot be written: "), "{said}");
}

#[test]
fn mistaken_command_lines_end_with_2() {
    let world = three_traces();
    for arguments in ["", "lst", "ls --limit many", "show a b", "--colour", "tail -n -1"] {
        assert_eq!(world.run(arguments).code, 2, "{arguments}");
    }
}

#[test]
fn help_says_what_ends_how() {
    let world = World::new();
    let help = world.run("--help").out;
    for code in ["0  done", "1  there is nothing", "2  the command line", "3  some input", "4  the output"] {
        assert!(help.contains(code), "{help}");
    }
    for verb in ["ls", "show", "tail", "recover", "stats", "doctor"] {
        assert!(world.run(&format!("{verb} --help")).out.contains("JSON"), "{verb}");
    }
}
