//! Black boxes of which much is gone, and such as no process writes.
#![cfg(all(target_os = "linux", target_endian = "little"))]

use std::fs;

use expect_test::expect;

use crate::blackbox::{file, killed, text};
use crate::world::World;

/// Everything that reads a box.
const VERBS: [&str; 9] =
    ["ls", "show last", "show last-failed", "show last --all", "show --json", "tail", "recover", "stats", "doctor"];

/// The file of a killed process, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> World {
    let world = killed("open");
    let path = file(&world);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    world
}

#[test]
fn damage_is_said_and_the_rest_is_shown() {
    let torn = changed(|bytes| {
        let secret = b"hunter2";
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "the password is in the file");
        bytes.truncate(bytes.len() / 2);
    });
    let shown = text(&torn.run("show last"));
    assert!(shown.contains("gap     cut off, "), "{shown}");
    assert!(shown.contains("send(attempt=7)"), "{shown}");
    for verb in VERBS {
        assert_eq!(torn.run(verb).code, 0, "{verb}");
    }
    let no_beginning = changed(|bytes| bytes[..512].fill(0));
    assert!(no_beginning.run("show last").out.contains("send(attempt=7)"));
    let neither = changed(|bytes| bytes[..0x2000].fill(0));
    expect![[r#"
        --- messages
        error: expected a black box in `.tracer/orders/(name).tbx`, found neither the beginning of one nor the copy of it
          help: it is no file of records, or was overwritten; remove it from the directory, or give another file
        --- 3
    "#]]
    .assert_eq(&text(&neither.run("ls")));
}

/// Its process is about to write to it, or has died before it did.
#[test]
fn a_file_that_nothing_was_written_to_is_no_trouble_but_for_who_asks_for_it() {
    for len in [0, 300_000] {
        let world = killed("open");
        let before = VERBS.map(|verb| text(&world.run(verb)));
        world.write(".tracer/orders/new.tbx", vec![0; len]);
        world.restrict(".tracer/orders/new.tbx", 0o600);
        for (verb, before) in VERBS.iter().zip(before) {
            let now = world.run(verb);
            assert_eq!(now.code, 0, "{verb}");
            if *verb != "doctor" {
                assert_eq!(text(&now), before, "{verb}");
            }
        }
        let doctor = world.run("doctor").out;
        assert!(doctor.contains("found that nothing was written to it yet"), "{doctor}");
        expect![[r#"
            --- messages
            error: expected records in `.tracer/orders/(name).tbx`, found that nothing was written to it yet
              help: its process is about to write to it; if it has died before, the next one that starts removes the file
            --- 3
        "#]]
        .assert_eq(&text(&world.run("--dir .tracer/orders/new.tbx ls")));
    }
}

#[test]
fn a_newer_version_is_named_and_so_is_the_one_that_is_read() {
    let newer = changed(|bytes| (bytes[10], bytes[0x100a]) = (7, 7));
    expect![[r#"
        --- messages
        error: `.tracer/orders/(name).tbx` is of another version: a black box of format 7, this reads formats 1 to 2
          help: it was written by another release of tracer: install the version of `tracer-cli` that fits the program
        --- 3
    "#]]
    .assert_eq(&text(&newer.run("show")));
    expect![[r#"
        --- messages
        error: `.tracer/orders/(name).tbx` is of another version: a black box of format 7, this reads formats 1 to 2
          help: it was written by another release of tracer: install the version of `tracer-cli` that fits the program
        --- 3
    "#]]
    .assert_eq(&text(&newer.run("tail")));
    let found = newer.run("doctor");
    assert_eq!(found.code, 1);
    assert!(found.out.contains("a black box of format 7, this reads formats 1 to 2"), "{}", found.out);
}

#[test]
fn files_of_any_bytes_are_survived() {
    let mut state = 7_u64;
    // What stands before the pages of a large box, and all of a small one.
    for (scenario, damaged_len) in [("open", 400 << 10), ("resumed", usize::MAX)] {
        let world = killed(scenario);
        let path = file(&world);
        let whole = fs::read(&path).unwrap();
        for _ in 0..8 {
            let mut bytes = whole.clone();
            for _ in 0..2000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(state >> 33).unwrap() % bytes.len().min(damaged_len);
                bytes[at] = state.to_le_bytes()[7];
            }
            fs::write(&path, bytes).unwrap();
            for verb in VERBS {
                let ran = world.run(verb);
                assert!(matches!(ran.code, 0 | 1 | 3) && !ran.err.contains("panicked"), "{verb}: {}", ran.text());
                assert!(!ran.out.contains(|c: char| c.is_control() && c != '\n'), "{verb}: {:?}", ran.out);
            }
        }
    }
}

/// What was written over but for the places where it was taken up again.
#[test]
fn a_trace_without_records_is_told_as_such() {
    let world = killed("resumed");
    let listed = world.run("ls").out;
    let line = listed.lines().find(|line| line.contains("(unknown)")).expect("it is listed");
    let short = &line[..line.find(' ').unwrap()];
    assert!(line.ends_with("   0 spans  no record of it is left, only that it was resumed"), "{line}");
    expect![[r#"
        (id)  · lost · _

        began   (unknown)
        file    .tracer/orders/(name).tbx (black box)
        read    recovered 1,029 records; the oldest 77 pages written over
        gap     the oldest 77 pages written over
        missing no record of it is left, only that it was resumed
        process orders 1.2.0, pid _: killed (SIGKILL, or a signal that leaves no note)
        alive   until (time), if not for longer
        --- 0
    "#]]
    .assert_eq(&text(&world.run(&format!("show {short}"))));
    let json = &world.run(&format!("show {short} --json")).json()[0];
    assert!(json["start_ns"].is_null() && json["end_ns"].is_null(), "{json}");
    assert_eq!(json["spans"], serde_json::json!([]));
    for verb in VERBS {
        assert_eq!(world.run(verb).code, 0, "{verb}");
    }
}

/// `docs/format.md`.
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|word| {
        let mut eight = [0; 8];
        eight[..word.len()].copy_from_slice(word);
        u64::from_le_bytes(eight)
    });
    let hash = words.fold(seed, |hash, word| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 32)
    });
    let hash = (hash ^ bytes.len() as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    hash ^ (hash >> 29)
}

/// Nothing in it says whether the machine went down, or is another one.
#[test]
fn a_file_of_another_machine_is_read_whole_by_who_says_that_it_is_a_copy() {
    let world = killed("open");
    let path = file(&world);
    let mut bytes = fs::read(&path).unwrap();
    for at in [0, 0x1000] {
        let block = &mut bytes[at..at + 512];
        block[32..48].copy_from_slice(&[7; 16]);
        let check = mix(0x5442_5831_5355_5052, &block[..504]);
        block[504..].copy_from_slice(&check.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    let lost = world.run("recover").text();
    assert!(lost.contains("lost with its host") && lost.contains("`--copied`"), "{lost}");
    assert_eq!(world.run("show last").code, 1, "nothing has a check yet");
    let copied = world.run("show last --copied");
    assert!(copied.code == 0 && copied.text().contains("validate"), "{}", copied.text());
    assert!(world.run("tail --copied").out.contains("GET /health"));
}
