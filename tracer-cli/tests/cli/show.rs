//! `show`, and which trace is meant.

use expect_test::expect;
use serde_json::{Value, json};

use crate::world::{BEGIN_NS, Story, World, handled, three_traces};

#[test]
fn a_failed_trace_is_drawn() {
    let world = three_traces();
    expect![[r#"
        tr_ab010000000000000000000000000000 webhook · failed · 12.0 ms
        payload {"id":7}
        ↑ 11.0 ms  handle(order={"card":•••,"id":7})
        ✗ 10.0 ms  └─ charge — CardError: declined

        began   2026-01-02T03:04:05.000000Z
        file    .tracer/shop/a.jsonl (JSON lines)
        read    8 records, every line
        --- 0
    "#]]
    .assert_eq(&world.run("show ab01").text());
}

#[test]
fn what_is_open_is_said() {
    let world = three_traces();
    world.write(".tracer/b.jsonl", world.read(".tracer/b.jsonl") + r#"{"type":"step","#);
    expect![[r#"
        tr_cd000000000000000000000000000000 import · lost · 4.00 ms
        …          rows(count=3)
        ✓ 1.00 ms  ├─ row(nr=1)
        …          └─ row(nr=2)

        began   2026-01-02T03:05:05.000000Z
        file    .tracer/b.jsonl (JSON lines)
        read    5 records; one line is torn
        process the file does not say whether its process lives, or how it ended
        open    rows(count=3), entered after 1.00 ms, open for at least 3.00 ms
        open    row(nr=2), entered after 4.00 ms, the last that was recorded
        --- 0
    "#]]
    .assert_eq(&world.run("show").text());
}

#[test]
fn json_has_everything_flat() {
    let world = three_traces();
    let shown = &world.run("show last --json").json()[0];
    let spans = shown["spans"].as_array().unwrap();
    let places: Vec<_> = spans.iter().map(|span| (&span["node"], &span["parent"], &span["outcome"])).collect();
    let expected = json!([["rows", null, "open"], ["row", 0, "ok"], ["row", 0, "open"]]);
    assert_eq!(json!(places), expected);
    assert_eq!(shown["open"][1]["arguments"], json!({"nr": 2}));
    assert_eq!(shown["start_ns"], json!((BEGIN_NS + 60_000_000_000).to_string()));
}

#[test]
fn traces_are_named_by_any_unique_beginning() {
    let world = three_traces();
    let shown = |wanted: &str| world.run(&format!("show {wanted} --json")).json()[0]["trace_id"].clone();
    for (wanted, begins) in
        [("last", "cd"), ("last-failed", "cd"), ("c", "cd"), ("tr_cd", "cd"), ("AB02", "ab02"), ("ab01", "ab01")]
    {
        assert!(shown(wanted).as_str().unwrap().starts_with(begins), "{wanted}");
    }
    expect![[r#"
        --- messages
        error: expected `ab` to begin one id, found 2:
          tr_ab020000000000000000000000000000 2026-01-02T03:04:05Z webhook ok
          tr_ab010000000000000000000000000000 2026-01-02T03:04:05Z webhook failed
          help: give more digits
        --- 2
    "#]]
    .assert_eq(&world.run("show ab").text());
    expect![[r#"
        --- messages
        error: expected a trace whose id begins with `77`, found none among 3
          help: `tracer ls` lists them; `--dir PATH` says where else to look
        --- 1
    "#]]
    .assert_eq(&world.run("show 77").text());
    expect![[r#"
        --- messages
        error: invalid value 'newest' for '[TRACE]': expected `last`, `last-failed` or the first hex digits of an id (`tr_` may stand before them)

        For more information, try '--help'.
        --- 2
    "#]].assert_eq(&world.run("show newest").text());
}

#[test]
fn that_nothing_failed_is_no_trace() {
    let world = World::new();
    world.write_records(".tracer/a.jsonl", &handled("1", BEGIN_NS));
    expect![[r#"
        --- messages
        error: expected a failed or lost trace, found none among 1
          help: `tracer ls` lists all traces, `tracer show last` shows the newest
        --- 1
    "#]]
    .assert_eq(&world.run("show last-failed").text());
}

#[test]
fn deep_traces_are_drawn_as_far_as_one_would_look() {
    let world = World::new();
    let mut story = Story::new("1", "deep", &Value::Null, BEGIN_NS);
    for level in 1..=3000_u64 {
        story = story.enter("down", level.checked_sub(1).filter(|parent| *parent > 0), &Value::Null);
    }
    world.write_records(".tracer/a.jsonl", &story.records);
    let shown = world.run("show");
    assert_eq!(shown.code, 0);
    assert!(shown.out.contains("… and 2744 calls below"), "{}", shown.out);
    assert_eq!(world.run("show --json").json()[0]["spans"].as_array().unwrap().len(), 256);
    assert!(world.run("ls").out.contains("3000 spans"));
}
