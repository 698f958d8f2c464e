//! `recover`, and the file that it writes.

use expect_test::expect;
use serde_json::json;

use crate::world::{BEGIN_NS, World, handled, lines, three_traces};

#[test]
fn each_file_is_reported() {
    let world = three_traces();
    world.write(".tracer/c.jsonl", lines(&[json!({"type": "beat", "schema": 1})]) + "nonsense\n{\"type\":");
    expect![[r#"
        .tracer/b.jsonl (JSON lines, 1.08 KiB)
          holds   5 records of 1 trace
          open    cd000000 rows(count=3) since 2026-01-02T03:05:05.001000Z
          open    cd000000 row(nr=2) since 2026-01-02T03:05:05.004000Z
          read    5 records, every line
        .tracer/c.jsonl (JSON lines, 44 B)
          holds   0 records of 0 traces
          read    0 records; 3 lines are not: 1 torn, 1 of an unknown type, 1 unreadable (line 2: no JSON (expected ident at byte 2))
        .tracer/shop/a.jsonl (JSON lines, 1.79 KiB)
          holds   8 records of 2 traces
          read    8 records, every line
        --- 0
    "#]].assert_eq(&world.run("recover").text());
}

#[test]
fn recovering_twice_changes_nothing() {
    let world = three_traces();
    expect![[r#"
        note: out.jsonl: 13 records added, 0 there already
    "#]]
    .assert_eq(&world.run("recover --out out.jsonl").err);
    let once = world.read("out.jsonl");
    assert_eq!(once.lines().count(), 13);
    expect![[r#"
        note: out.jsonl: 0 records added, 13 there already
    "#]]
    .assert_eq(&world.run("recover --out out.jsonl").err);
    assert_eq!(world.read("out.jsonl"), once);
    assert_eq!(world.run("ls --dir out.jsonl").out, world.run("ls").out);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(world.path("out.jsonl").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_was_recovered_outlives_its_file() {
    let world = three_traces();
    world.run("recover --out .tracer/all.jsonl");
    std::fs::remove_dir_all(world.path(".tracer/shop")).unwrap();
    world.write_records(".tracer/new.jsonl", &handled("ee…", BEGIN_NS));
    world.run("recover --out .tracer/all.jsonl");
    assert_eq!(world.run("ls --dir .tracer/all.jsonl").out.lines().count(), 4);
}

#[test]
fn a_torn_end_is_gone_on_behind() {
    let world = three_traces();
    world.run("recover --out out.jsonl");
    let whole = world.read("out.jsonl");
    for len in 0..whole.len() {
        if !whole.is_char_boundary(len) || len % 97 != 0 {
            continue;
        }
        world.write("out.jsonl", &whole[..len]);
        world.run("recover --out out.jsonl");
        assert_eq!(world.run("ls --dir out.jsonl").out, world.run("ls").out, "cut to {len} bytes");
    }
}

#[test]
fn nothing_else_is_overwritten() {
    let world = three_traces();
    world.write("notes.txt", "not records\n");
    expect![[r#"
        error: expected JSON lines of records or nothing in `notes.txt`, found no JSON (expected ident at byte 2) in line 1
          help: nothing was written; give another file
    "#]].assert_eq(&world.run("recover --out notes.txt").err);
    assert_eq!(world.run("recover --out notes.txt").code, 2);
    assert_eq!(world.read("notes.txt"), "not records\n");
    assert_eq!(world.run("recover --out .tracer").code, 2);
    assert_eq!(world.run("recover --out nowhere/out.jsonl").code, 4);
}

#[test]
fn json_is_one_object_a_file() {
    let world = World::new();
    world.write(".tracer/a.jsonl", lines(&handled("1", BEGIN_NS)) + "{\"torn");
    expect![[r#"
        {"file":".tracer/a.jsonl","format":"JSON lines","size_bytes":662,"process":null,"app":null,"pid":null,"death":null,"ended":null,"alive":false,"records":3,"traces":1,"dropped":0,"gaps":[],"confidence":"3 records; one line is torn","skipped":{"torn":1,"unknown":0,"newer":0,"unreadable":0,"too_long":0},"open":[]}
        --- 0
    "#]].assert_eq(&world.run("recover --json").text());
}
