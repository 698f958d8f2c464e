//! Files that are not as they should be.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{BEGIN_NS, Story, World, declined, handled, lines};

const VERBS: [&str; 6] = ["ls", "show", "tail", "recover", "stats", "doctor"];

#[test]
fn lines_that_are_no_records_are_passed_over_and_counted() {
    let world = World::new();
    let mut known = handled("1", BEGIN_NS);
    known[1]["added_later"] = json!({"deep": [1, 2]});
    let newer = json!({"type": "step", "schema": 2, "what": "else"});
    let unknown = json!({"type": "beat", "schema": 1});
    let broken = json!({"type": "step", "schema": 1, "node": 5});
    let text = lines(&known) + "\n \n" + &lines(&[newer, unknown, broken]) + "nonsense\n{\"type\":\"st";
    world.write(".tracer/a.jsonl", text);
    assert_eq!(world.run("ls").out.lines().count(), 1);
    expect![[r#"
        .tracer/a.jsonl (JSON lines, 812 B)
          holds   3 records of 1 trace
          read    3 records; 5 lines are not: 1 torn, 1 of an unknown type, 1 of a newer schema, 2 unreadable (line 8: no record (invalid type: integer `5`, expected a string))
        --- 0
    "#]].assert_eq(&world.run("recover").text());
}

#[test]
fn a_last_line_may_lack_its_end() {
    let world = World::new();
    let text = lines(&declined("1", BEGIN_NS));
    for len in (0..=text.len()).filter(|len| len % 31 == 0 || *len + 3 > text.len()) {
        world.write(".tracer/a.jsonl", &text[..len]);
        let whole = text[..len].matches('\n').count() + usize::from(len + 1 == text.len());
        let ran = world.run("recover --json");
        let file = &ran.json()[0];
        let torn = !(text[..len].is_empty() || text[..len].ends_with('\n') || len + 1 == text.len());
        assert_eq!(
            (&file["records"], &file["skipped"]["torn"]),
            (&json!(whole), &json!(u8::from(torn))),
            "{len} bytes"
        );
    }
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_shown() {
    let world = World::new();
    world.write_records(".tracer/good.jsonl", &handled("1", BEGIN_NS));
    world.write(".tracer/bad.jsonl", "\u{1b}[2Jnonsense\n");
    world.write(".tracer/newer.jsonl", lines(&[json!({"type": "step", "schema": 9})]));
    expect![[r#"
        000000  2026-01-02T03:04:05Z  webhook  ok         3.00 ms    1 span
        --- messages
        warning: expected one record as a JSON object a line in `.tracer/bad.jsonl`, found no JSON (expected value at byte 1) in line 1
          help: it is no file of records, or was overwritten; remove it from the directory, or give another file
        warning: expected records of schema 1 or less in `.tracer/newer.jsonl`, found schema 9
          help: it was written by a newer tracer: install that version of `tracer-cli`
        --- 3
    "#]].assert_eq(&world.run("ls").text());
    assert_eq!(world.run("show").code, 3);
}

#[test]
fn a_file_is_named_by_its_path_whatever_its_extension() {
    let world = World::new();
    world
        .write_records("trace.log", &handled("1", BEGIN_NS))
        .write("photo.png", b"\x89PNG\r\n\x1a\n")
        .write("none", "");
    assert_eq!(world.run("ls --dir trace.log").code, 0);
    expect![[r#"
        --- messages
        error: expected black box (*.tbx) or JSON lines (*.jsonl) in `photo.png`, found neither its name nor its beginning to be one
          help: give a file of records, or the directory that they are in
        --- 3
    "#]]
    .assert_eq(&world.run("ls --dir photo.png").text());
    assert_eq!(world.run("ls --dir none").code, 1);
}

#[cfg(unix)]
/// As those do that make room for others.
#[test]
fn files_that_go_while_they_are_read_are_no_trouble() {
    let world = World::new();
    world.write_records(".tracer/stays.jsonl", &handled("1", BEGIN_NS));
    let goes = lines(&declined("2", BEGIN_NS)).repeat(100);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for number in 0..100 {
                    world.write(&format!(".tracer/goes{number}.jsonl"), &goes);
                }
                for number in 0..100 {
                    std::fs::remove_file(world.path(&format!(".tracer/goes{number}.jsonl"))).unwrap();
                }
            }
        });
        let ran: Vec<_> = (0..20).map(|_| world.run("ls")).collect();
        is_over.store(true, Ordering::Relaxed);
        for ran in ran {
            assert_eq!(ran.code, 0, "{}", ran.text());
        }
    });
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let world = World::new();
    assert!(std::process::Command::new("mkfifo").arg(world.path(".tracer/a.jsonl")).status().unwrap().success());
    std::fs::create_dir(world.path(".tracer/b.jsonl")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", world.path(".tracer/c.jsonl")).unwrap();
    std::os::unix::fs::symlink(".", world.path(".tracer/loop")).unwrap();
    for verb in VERBS {
        assert!(matches!(world.run(verb).code, 1), "{verb}");
    }
    assert_eq!(world.run("ls --dir .tracer/a.jsonl").code, 3);
    assert_eq!(world.run("ls --dir /dev/zero").code, 3);
    assert_eq!(world.run("recover --out .tracer/a.jsonl --dir .tracer").code, 1);
}

#[test]
fn a_line_of_100_megabytes_is_passed_over() {
    let world = World::new();
    world.write_records(".tracer/a.jsonl", &handled("1", BEGIN_NS));
    let mut file = File::options().append(true).open(world.path(".tracer/a.jsonl")).unwrap();
    file.write_all(br#"{"type":"env","source":""#).unwrap();
    let part = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| file.write_all(&part).unwrap());
    file.write_all(b"\"}\n").unwrap();
    file.write_all(lines(&declined("2", BEGIN_NS)).as_bytes()).unwrap();
    assert_eq!(world.run("ls").out.lines().count(), 2);
    let file = &world.run("recover --json").json()[0];
    assert_eq!((&file["records"], &file["skipped"]["too_long"]), (&json!(8), &json!(1)));
}

/// Everything in a record that is a text, as somebody would write it who wants to drive the terminal.
fn hostile() -> World {
    let evil = "\u{1b}[31m\u{7}\r\n\u{9b}2J\u{202e}\u{7f}";
    let world = World::new();
    let story = Story::new("1", evil, &json!({evil: [evil]}), BEGIN_NS);
    let story = story.enter(evil, None, &json!({evil: evil})).enter(evil, Some(1), &Value::Null);
    let story = story.error(evil, 2, evil, evil).unwound(evil, 1);
    let mut records = story.records;
    let mut violation = records[0].clone();
    violation["type"] = "note".into();
    violation["seq"] = 99.into();
    violation["note"] = json!({"kind": "flow_violation", "flow": evil, "from": evil, "to": evil});
    records.push(violation);
    let story = Story::new("2", evil, &Value::Null, BEGIN_NS + 1).enter(evil, None, &json!({evil: evil}));
    records.extend(story.records);
    world.write_records(".tracer/a\u{1b}[2Jb/c\u{7}.jsonl", &records);
    world.write(".tracer/\u{1b}[2J.jsonl", "\u{1b}[2J\n{\"type\":\"env\",\"cause\":\"\u{1b}[2J\"}\n");
    world
}

#[test]
fn no_control_character_reaches_a_terminal() {
    let world = hostile();
    for verb in VERBS.iter().copied().chain(["show 00", "show ff", "show 00000000000000000000000000000001"]) {
        for arguments in [verb.to_owned(), format!("{verb} --json")] {
            let ran = world.run(&arguments);
            for text in [&ran.out, &ran.err] {
                let driving = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                assert!(!text.contains(driving), "{arguments}: {text:?}");
            }
            if arguments.ends_with("--json") {
                ran.json();
            }
        }
    }
    // Escaped is not lost.
    let shown = &world.run("show 00000000000000000000000000000001 --json").json()[0];
    assert!(shown["source"].as_str().unwrap().starts_with("\u{1b}[31m\u{7}"));
}

fn survives(bytes: &[u8]) {
    let world = World::new();
    world.write(".tracer/a.jsonl", bytes);
    for verb in VERBS {
        let ran = world.run(verb);
        assert!(matches!(ran.code, 0 | 1 | 3) && !ran.err.contains("panicked"), "{verb}: {}", ran.text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn random_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        survives(&bytes);
    }

    /// Records in any order, some of them missing, some twice, with bytes that were changed.
    #[test]
    fn damaged_records_are_survived(
        order in proptest::collection::vec(0_usize..14, 0..30),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let records = [declined("1", BEGIN_NS), handled("2", BEGIN_NS), crate::world::unfinished("3", BEGIN_NS)].concat();
        let shuffled: Vec<_> = order.iter().filter_map(|nth| records.get(*nth).cloned()).collect();
        let mut bytes = lines(&shuffled).into_bytes();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        survives(&bytes);
    }
}
