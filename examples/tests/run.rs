//! Runs every example and compares what it prints with what it says that it prints.
//!
//! That is the comment at the end of its file; of the demonstration, `demo.txt`. What differs from run
//! to run is masked. `UPDATE_EXPECT=1` writes what was printed. `cargo test` builds the examples; with `--test run`
//! alone, build them first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::{env, fs};

macro_rules! examples {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            check(stringify!($name));
        }
    )+};
}

examples! { quickstart manual axum batch order flow async_tasks json_lines executions own_store resume service worker_postgres demo }

#[test]
fn blackbox() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let run = |arguments: &[&str]| {
        let mut example = Command::new(program("examples/blackbox"));
        example
            .args(arguments)
            .env_remove("TRACER_DIR")
            .current_dir(&directory)
            .output()
            .expect("the example was built")
    };
    let first = run(&[]);
    assert!(!first.status.success(), "it was to be killed");
    // What it prints is not told, but what `tracer` says of it afterwards.
    let shown = Command::new(tracer()).args(["show", "last"]).env_remove("TRACER_DIR").current_dir(&directory).output();
    let shown = shown.expect("the program was built").stdout;
    compare("blackbox", &String::from_utf8(shown).expect("it prints UTF-8"));
    let told = run(&["carefully"]).stderr;
    let told = String::from_utf8_lossy(&told);
    assert!(
        told.contains(" killed\n") && told.contains(r#"charge was running with {"cents":1904,"order":4}"#),
        "{told}"
    );
    let (_, id) = told.split_once("`tracer show ").expect("it says how to see more");
    let id = id.split_once("` shows what led there").expect("it says what that shows").0;
    assert!(told.contains(&format!(" in tr_{id}")), "{told}");
    // By then the second process has left its trace, too.
    let shown = Command::new(tracer()).args(["show", id]).env_remove("TRACER_DIR").current_dir(&directory).output();
    let shown = shown.expect("the program was built");
    let shown = (shown.status.code(), String::from_utf8_lossy(&shown.stdout).into_owned());
    assert!(shown.0 == Some(0) && shown.1.starts_with(&format!("tr_{id}")), "{shown:?}");
}

/// Runs an example to its end, and compares what it prints.
fn check(name: &str) {
    if name == "demo" {
        tracer();
    }
    let mut example = Command::new(program(&format!("examples/{name}")));
    // A test has no business with a database of somebody's.
    let output = example.env_remove("DATABASE_URL").output().expect("the example was built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    compare(name, &String::from_utf8(output.stdout).expect("it prints UTF-8"));
}

fn compare(name: &str, printed: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_long = name == "demo";
    let path = directory.join(if is_long { format!("{name}.txt") } else { format!("{name}.rs") });
    let printed = masked(printed);

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
    profile().join(name).with_extension(env::consts::EXE_EXTENSION)
}

fn profile() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    test.parent().and_then(Path::parent).expect("it is in `deps`").to_owned()
}

/// The program that reads black boxes. A test of the whole workspace has built it; one of this package has to.
fn tracer() -> PathBuf {
    static BUILD: Once = Once::new();
    let path = program("tracer");
    BUILD.call_once(|| {
        if !path.is_file() {
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["build", "--package", "tracer-cli", "--bin", "tracer", "--target-dir"]);
            let target = profile();
            cargo.arg(target.parent().expect("a profile is in the target directory"));
            if target.ends_with("release") {
                cargo.arg("--release");
            }
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be started");
            assert!(built.success(), "the program `tracer` cannot be built");
        }
    });
    path
}

/// Where the comment at the end of a file begins.
fn comment_of(text: &str) -> usize {
    let lines = text.split_inclusive('\n').rev().take_while(|line| line.starts_with("//") && !line.starts_with("//!"));
    text.len() - lines.map(str::len).sum::<usize>()
}

/// `_` for a duration, with the space in front that aligns it, and for the number of a process; `…` for a time of day, the
/// name of a black box, an id that was cut, and sixteen hex digits or more.
fn masked(text: &str) -> String {
    text.lines().map(|line| without_ids(&without_times(line)) + "\n").collect()
}

fn without_times(line: &str) -> String {
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let mut words: Vec<String> = Vec::new();
    for whole in line.split(' ') {
        let word = whole.trim_end_matches([',', ':']);
        let file = Path::new(word);
        let (end, last) = (&whole[word.len()..], words.last().map_or("", String::as_str));
        let after_label = words.iter().rev().find(|word| !word.is_empty()).map_or("", String::as_str);
        if matches!(word, "ns" | "µs" | "ms" | "s") && is_number(last) {
            words.pop();
            while words.last().is_some_and(String::is_empty) {
                words.pop();
            }
            words.push(format!("_{end}"));
        } else if is_span(word) {
            if last != "_" {
                words.push(format!("_{end}"));
            }
        } else if last == "pid" && is_number(word) {
            words.push(format!("_{end}"));
        } else if word.starts_with("20") && word.contains('T') && word.ends_with('Z') {
            words.push(format!("…{end}"));
        } else if let (Some(directory), true) = (file.parent(), file.extension().is_some_and(|end| end == "tbx")) {
            words.push(format!("{}/….tbx{end}", directory.display()));
        } else if after_label == "beside" && !word.is_empty() {
            words.push("…".to_owned());
        } else {
            words.push(whole.to_owned());
        }
    }
    words.join(" ")
}

/// `1s`, `203ms`: parts of a duration as `tracer exec` shows it.
fn is_span(word: &str) -> bool {
    let unit = word.trim_start_matches(|digit: char| digit.is_ascii_digit());
    unit.len() < word.len() && matches!(unit, "ns" | "us" | "ms" | "s" | "m" | "h")
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
fn what_differs_from_run_to_run_is_masked() {
    let line = "✓  554 µs  ├─ 00112233445566778899aabbccddeeff took 1.2 s and 12 steps";
    assert_eq!(masked(line), "✓ _  ├─ … took _ and 12 steps\n");
    let line = "process demo, pid 12: until 2026-01-02T03:04:05Z, after 1.20 ms, in .tracer/demo/ab-1.tbx";
    assert_eq!(masked(line), "process demo, pid _: until …, after _, in .tracer/demo/….tbx\n");
    assert_eq!(masked("┊ 1m 40s later, 203ms"), "┊ _ later, _\n");
    assert_eq!(masked("beside  1a2b3c GET /"), "beside  … GET /\n");
}
