//! `doctor`.
#![cfg(unix)]

use std::process::Command;

use crate::world::{BEGIN_NS, World, handled, lines, three_traces};

/// Level, path and what was found, without what depends on the file system that the tests run on.
fn found(world: &World) -> String {
    let ran = world.run("doctor --json");
    let findings = ran.json();
    let trouble = findings.iter().any(|finding| finding["level"] == "trouble");
    assert_eq!(ran.code, i32::from(trouble), "{}", ran.text());
    let line = |finding: &serde_json::Value| {
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        assert_eq!(finding["level"] == "ok", finding["help"].is_null(), "{finding}");
        Some(format!("{:<8}{}: {}\n", text("level"), text("path"), text("found")))
            .filter(|line| !line.contains(" free"))
    };
    findings.iter().filter_map(line).collect()
}

#[test]
fn a_directory_as_it_should_be_has_no_trouble() {
    let world = three_traces();
    expect_test::expect![[r#"
        ok      .tracer/b.jsonl: JSON lines: 5 records, every line
        ok      .tracer/shop/a.jsonl: JSON lines: 8 records, every line
    "#]]
    .assert_eq(&found(&world));
}

#[test]
fn a_link_that_was_asked_for_is_followed() {
    let world = three_traces();
    std::os::unix::fs::symlink(".tracer", world.path("link")).unwrap();
    let found = world.run("doctor --dir link").out;
    assert!(found.contains("link/b.jsonl") && !found.contains("permissions"), "{found}");
    assert!(found.contains("a symbolic link to a directory"), "programs do not follow it: {found}");
}

#[test]
fn each_trouble_is_found() {
    let world = three_traces();
    world.restrict(".tracer/shop", 0o755);
    world.restrict(".tracer/b.jsonl", 0o644);
    world.write(".tracer/notes.txt", "");
    world.write(".tracer/.gitignore", "*");
    world.write(".tracer/random.jsonl", [0xff, 0, 0x1b, b'[', b'2', b'J']);
    world.write(".tracer/empty.jsonl", "");
    world.write(".tracer/torn.jsonl", lines(&handled("1", BEGIN_NS)) + "{");
    world.write(".tracer/newer.jsonl", lines(&handled("1", BEGIN_NS)).replace("\"schema\":1", "\"schema\":2"));
    world.write(".tracer/shop/deep/x.jsonl", "");
    std::os::unix::fs::symlink("/etc/passwd", world.path(".tracer/link.jsonl")).unwrap();
    assert!(Command::new("mkfifo").arg(world.path(".tracer/pipe.jsonl")).status().unwrap().success());
    expect_test::expect![[r#"
        trouble .tracer/b.jsonl: permissions 0644, expected 0600
        ok      .tracer/b.jsonl: JSON lines: 5 records, every line
        ok      .tracer/empty.jsonl: JSON lines: 0 records, every line
        trouble .tracer/link.jsonl: a symbolic link
        trouble .tracer/newer.jsonl: expected records of schema 1 or less in `.tracer/newer.jsonl`, found schema 2
        note    .tracer/notes.txt: no file of records by its name
        trouble .tracer/pipe.jsonl: a named pipe
        trouble .tracer/random.jsonl: expected one record as a JSON object a line in `.tracer/random.jsonl`, found no JSON (expected value at byte 1) in line 1
        trouble .tracer/shop: permissions 0755, expected 0700
        ok      .tracer/shop/a.jsonl: JSON lines: 8 records, every line
        note    .tracer/shop/deep: a directory that is too deep to be searched
        note    .tracer/torn.jsonl: JSON lines: 3 records; one line is torn
    "#]].assert_eq(&found(&world));
    let text = world.run("doctor").out;
    assert!(text.contains("`chmod 700 .tracer/shop`") && text.contains("`chmod 600 .tracer/b.jsonl`"), "{text}");
}

#[test]
fn a_directory_that_is_not_there_is_trouble() {
    let world = World::new();
    let ran = world.run("doctor --dir nowhere");
    expect_test::expect![[r#"
        ✗ nowhere: expected a directory or a file of records at `nowhere`, found nothing
          run a traced program that records to files there, or `mkdir -m 700 nowhere`
        --- 1
    "#]]
    .assert_eq(&ran.text());
}

/// As another user where that can be, or else with a mode by which nobody may.
#[test]
fn who_may_read_a_file_is_told_to_who_may_not() {
    let world = three_traces();
    std::fs::copy(env!("CARGO_BIN_EXE_tracer"), world.path("tracer")).unwrap();
    world.restrict("", 0o755);
    world.restrict(".tracer", 0o755);
    let is_root = std::os::unix::fs::MetadataExt::uid(&world.path("tracer").metadata().unwrap()) == 0;
    let doctor = |more: &str| {
        let mut command = Command::new(world.path("tracer"));
        command.args(["doctor", more]).current_dir(world.path(""));
        if is_root {
            std::os::unix::process::CommandExt::uid(&mut command, 65534);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    if !is_root {
        world.restrict(".tracer/b.jsonl", 0);
        world.restrict(".tracer/shop", 0);
    }
    let found = doctor("--color=never");
    assert!(found.contains("b.jsonl` cannot be read: Permission denied"), "{found}");
    assert!(found.contains("shop` cannot be read: Permission denied"), "{found}");
    assert!(!found.contains("says more"), "{found}");
    let help = if is_root {
        [
            "it belongs to root, mode 0600: only root may read it: `sudo -u root tracer doctor --dir /",
            "mode 0700: only root",
        ]
    } else {
        ["it has mode 0000, by which not even its owner may read it: `chmod 600 /", "`chmod 700 /"]
    };
    assert!(help.iter().all(|help| found.contains(help)), "{found}");
    // What is in a directory that cannot be looked into: who may is said of that.
    let above = doctor("--dir=.tracer/shop/a.jsonl");
    assert!(above.contains("/.tracer/shop` ") && above.contains("mode 0"), "{above}");
    world.restrict(".tracer/shop", 0o700);
}
