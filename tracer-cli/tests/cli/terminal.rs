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

/// Through `script`, which gives the program a terminal, and is part of every Debian.
#[cfg(target_os = "linux")]
fn on_terminal(world: &World, arguments: &str, no_color: &str, term: &str) -> String {
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_tracer"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(world.path(""));
    script.env_remove("TRACER_DIR").env("NO_COLOR", no_color).env("TERM", term).stdin(Stdio::null());
    String::from_utf8(script.output().unwrap().stdout).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colours_unless_it_is_asked_not_to() {
    let world = three_traces();
    let on_terminal = |arguments: &str, no_color: &str, term: &str| on_terminal(&world, arguments, no_color, term);
    let coloured = on_terminal("ls", "", "xterm");
    assert!(coloured.contains("\u{1b}[1;31m✗\u{1b}[0m charge"), "{coloured:?}");
    for (arguments, no_color, term) in [("ls", "1", "xterm"), ("ls", "", "dumb"), ("ls --color never", "", "xterm")] {
        let plain = on_terminal(arguments, no_color, term);
        assert!(plain.contains("✗ charge") && !plain.contains('\u{1b}'), "{plain:?}");
    }
    assert!(on_terminal("ls --color always", "1", "dumb").contains('\u{1b}'));
}

/// Of all that takes long: reading the files, listing what is in them, writing it elsewhere.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_a_bar_while_something_takes_long() {
    for (arguments, bars) in
        [("ls", ["reading", "listing"]), ("recover --out all.jsonl", ["reading", "writing"]), ("tail", ["reading"; 2])]
    {
        // How long it takes is for the machine to say.
        let has_bars = [5_000, 20_000, 80_000_u64].into_iter().any(|count| {
            let world = many(count);
            let shown = on_terminal(&world, arguments, "", "xterm");
            let has_bars = bars.iter().all(|bar| shown.contains(bar) && shown.contains(" %, "));
            assert!(!has_bars || !world.run(arguments).err.contains(" %, "), "the control: for nobody there is no bar");
            has_bars
        });
        assert!(has_bars, "{arguments}");
    }
}

fn many(traces: u64) -> World {
    let world = World::new();
    let records: Vec<_> = (1..=traces).flat_map(|nth| handled(&format!("{nth:x}"), BEGIN_NS + nth)).collect();
    world.write_records(".tracer/a.jsonl", &records);
    world
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let world = many(3000);
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
