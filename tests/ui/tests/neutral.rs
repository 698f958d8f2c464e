//! What the compiler says of a traced function is what it says of the plain one: levels, codes, messages and places,
//! what the labels say, and what the notes and helps beside it say and would replace.
//!
//! Each case of `broken/*.rs` is compiled twice, with `#[traced_node]` and with a comment of the same length. Where a
//! label, note or help has to read otherwise, the case says why behind its name; the rest is the same there, too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const ATTRIBUTE: &str = "#[tracer::traced_node]";
const COMMENT: &str = "/*                  */";

/// What is compared of one message.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    level: String,
    code: String,
    text: String,
    /// Lines and columns of the primary spans.
    places: Vec<[u64; 4]>,
    /// Whether a label or a help is about the attribute, of which the plain function has none.
    is_about_attribute: bool,
    /// What labels, notes and helps say, and where.
    beside: Vec<String>,
}

/// The compiled `tracer`, which `cargo` knows where to find.
fn tracer() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "tracer", "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let library = artifacts.filter(|artifact| artifact["target"]["name"] == "tracer").find_map(|artifact| {
        artifact["filenames"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .find(|name| name.ends_with(".rlib"))
            .map(PathBuf::from)
    });
    library.unwrap_or_else(|| panic!("cargo built no tracer: {}", String::from_utf8_lossy(&output.stderr)))
}

fn compile(tracer: &Path, name: &str, source: &str, edition: &str) -> Vec<Message> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.rs"));
    fs::write(&file, source).unwrap();
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--error-format=json", "--crate-type=lib", "--emit=metadata", "--edition", edition])
        .arg("--extern")
        .arg(format!("tracer={}", tracer.display()))
        .arg("-L")
        .arg(format!("dependency={}", tracer.with_file_name("deps").display()))
        .arg("-o")
        .arg(folder.join(format!("lib{name}.rmeta")))
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let mut messages: Vec<Message> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|message| {
            let text = message["message"].as_str().unwrap();
            // Totals, and the reference to `rustc --explain`.
            !text.starts_with("aborting") && !text.ends_with("emitted") && message["level"] != "failure-note"
        })
        .map(|message| Message {
            level: message["level"].as_str().unwrap().to_owned(),
            code: match message["code"]["code"].as_str() {
                Some("E0267") => "E0268".to_owned(),
                code => code.unwrap_or_default().to_owned(),
            },
            text: alike(&message["message"]),
            places: message["spans"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|span| span["is_primary"] == true)
                .map(|span| {
                    ["line_start", "column_start", "line_end", "column_end"].map(|key| span[key].as_u64().unwrap())
                })
                .collect(),
            is_about_attribute: spans(&message).any(|(start, end)| {
                source.match_indices(ATTRIBUTE).any(|(at, _)| start < at + ATTRIBUTE.len() && at < end)
            }),
            beside: beside(&message),
        })
        .collect();
    messages.sort();
    messages
}

/// From where to where the labels of a message and of its helps go.
fn spans(message: &Value) -> impl Iterator<Item = (usize, usize)> {
    let helps = message["children"].as_array().unwrap();
    let all = std::iter::once(message).chain(helps).flat_map(|message| message["spans"].as_array().unwrap());
    all.map(|span| ["byte_start", "byte_end"].map(|key| usize::try_from(span[key].as_u64().unwrap()).unwrap()))
        .map(|[start, end]| (start, end))
}

/// What is said of one function and not of the other.
fn only_in(these: &[Message], those: &[Message], whose: &str) -> String {
    let lines = |messages: &[Message]| -> Vec<String> {
        let said = messages.iter().map(|Message { level, code, text, places, is_about_attribute, beside }| {
            let head = format!("{level} {code} {text} {places:?} {is_about_attribute}");
            std::iter::once(head).chain(beside.iter().map(|line| format!("    {line}")))
        });
        said.flatten().collect()
    };
    let others = lines(those);
    lines(these).iter().filter(|line| !others.contains(line)).map(|line| format!("  {whose}: {line}\n")).collect()
}

/// The labels of a message, and its notes and helps with theirs and with what they would write.
fn beside(message: &Value) -> Vec<String> {
    let said = |of: &Value| -> Vec<String> {
        let spans = of["spans"].as_array().unwrap().iter();
        let labels = spans.map(|span| {
            let place = ["line_start", "column_start", "line_end", "column_end"].map(|key| span[key].as_u64().unwrap());
            format!("{place:?} {} {}", alike(&span["label"]), span["suggested_replacement"])
        });
        let mut labels: Vec<String> = labels.collect();
        labels.sort();
        labels
    };
    let children = message["children"].as_array().unwrap().iter();
    let children = children.map(|child| format!("{}: {} {:?}", child["level"], alike(&child["message"]), said(child)));
    said(message).into_iter().chain(children).collect()
}

/// Where rustc names what the code stands in, a body that became a closure or an async block reads differently. These
/// are all the ways that `broken/` knows.
fn alike(text: &Value) -> String {
    const ALIKE: [(&str, &str); 5] = [
        ("cannot assign to data in a `&` reference", "cannot assign to `self.0`, which is behind a `&` reference"),
        ("in a closure that returns", "in a function that returns"),
        ("in closure argument", "in function argument"),
        ("`break` inside of a closure", "`break` outside of a loop or labeled block"),
        ("cannot move out of a shared reference", "cannot move out of `self` which is behind a shared reference"),
    ];
    let mut text = text.as_str().unwrap_or_default().to_owned();
    for (traced, plain) in ALIKE {
        text = text.replace(traced, plain);
    }
    text
}

#[test]
fn a_broken_function_is_reported_as_without_the_attribute() {
    let tracer = tracer();
    let mut files: Vec<PathBuf> = fs::read_dir("broken").unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut cases = 0;
    let mut different = String::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let (head, rest) = text.split_once("//# ").unwrap();
        for case in rest.split("//# ") {
            let (title, source) = case.split_once('\n').unwrap();
            let (name, why_beside_differs) =
                title.split_once(": ").map_or((title, None), |(name, why)| (name, Some(why)));
            let source = format!("{head}{source}");
            assert!(source.contains(ATTRIBUTE), "{name} has nothing to trace");
            cases += 1;
            let mut traced = compile(&tracer, &format!("{name}_traced"), &source, "2024");
            let mut plain = compile(&tracer, &format!("{name}_plain"), &source.replace(ATTRIBUTE, COMMENT), "2024");
            assert!(!plain.is_empty(), "{name} is not broken");
            if let Some(why) = why_beside_differs {
                assert_ne!(traced, plain, "{name} needs no excuse: {why}");
                for message in traced.iter_mut().chain(&mut plain) {
                    message.beside.clear();
                }
            }
            if traced != plain {
                different +=
                    &format!("{name}\n{}{}", only_in(&plain, &traced, "plain"), only_in(&traced, &plain, "traced"));
            }
        }
    }
    assert!(different.is_empty(), "{different}");
    assert!(cases >= 30, "{cases}");
}
