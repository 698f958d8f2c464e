//! Runs every example and compares what it prints with what it says that it prints.
//!
//! That is the comment at the end of its file; of the demonstration, `demo.txt`. Ids and durations are masked.
//! `UPDATE_EXPECT=1` writes what was printed. `cargo test` builds the examples; with `--test run` alone, build them
//! first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

macro_rules! examples {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            check(stringify!($name));
        }
    )+};
}

examples! { quickstart manual axum batch order flow async_tasks json_lines executions own_store resume demo }

fn check(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_long = name == "demo";
    let path = directory.join(if is_long { format!("{name}.txt") } else { format!("{name}.rs") });
    let output = Command::new(program(name)).output().expect("the example was built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    let printed = masked(&String::from_utf8(output.stdout).expect("it prints UTF-8"));

    let text = fs::read_to_string(&path).unwrap_or_default();
    let code = if is_long { "" } else { &text[..comment_of(&text)] };
    let comment: String = printed.lines().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect();
    let expected = if is_long { printed } else { format!("{}\n\n{comment}", code.trim_end()) };
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &expected).expect("the sources can be written");
    } else {
        let told = &text[code.len()..];
        let printed = expected[code.trim_end().len()..].trim_start();
        assert!(text == expected, "{name} says that it prints\n\n{told}\nand it prints\n\n{printed}");
    }
}

/// Next to this test: `target/debug/deps/run-…`, `target/debug/examples/…`.
fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(Path::parent).expect("it is in `deps`");
    profile.join("examples").join(name).with_extension(env::consts::EXE_EXTENSION)
}

/// Where the comment at the end of a file begins.
fn comment_of(text: &str) -> usize {
    let lines = text.split_inclusive('\n').rev().take_while(|line| line.starts_with("//") && !line.starts_with("//!"));
    text.len() - lines.map(str::len).sum::<usize>()
}

/// `_` for a duration, with the space in front that aligns it; `…` for sixteen hex digits or more.
fn masked(text: &str) -> String {
    text.lines().map(|line| without_ids(&without_durations(line)) + "\n").collect()
}

fn without_durations(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split(' ') {
        let is_unit = matches!(word, "ns" | "µs" | "ms" | "s");
        if is_unit && words.last().is_some_and(|number| number.parse::<f64>().is_ok()) {
            words.pop();
            while words.last() == Some(&"") {
                words.pop();
            }
            words.push("_");
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

fn without_ids(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let len = if digits > 0 { digits } else { rest.chars().next().map_or(0, char::len_utf8) };
        masked.push_str(if digits < 16 { &rest[..len] } else { "…" });
        rest = &rest[len..];
    }
    masked
}

#[test]
fn ids_and_durations_are_masked() {
    let line = "✓  554 µs  ├─ 00112233445566778899aabbccddeeff took 1.2 s and 12 steps";
    assert_eq!(masked(line), "✓ _  ├─ … took _ and 12 steps\n");
}
