//! `tail`, standing still and following.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use expect_test::expect;

use crate::world::{BEGIN_NS, MS, World, declined, handled, lines, three_traces};

#[test]
fn the_newest_records_come_last() {
    let world = three_traces();
    expect![[r#"
        2026-01-02T03:04:05.004000Z ab020000 exit  handle(ret="paid")
        2026-01-02T03:04:05.012000Z ab010000 error charge: CardError: declined
        2026-01-02T03:04:05.012000Z ab010000 note  handle ended with an error from below
        2026-01-02T03:05:05.000000Z cd000000 env   root import
        2026-01-02T03:05:05.001000Z cd000000 enter rows(count=3)
        2026-01-02T03:05:05.002000Z cd000000 enter row(nr=1)
        2026-01-02T03:05:05.003000Z cd000000 exit  row(ret=null)
        2026-01-02T03:05:05.004000Z cd000000 enter row(nr=2)
        --- 0
    "#]]
    .assert_eq(&world.run("tail -n 8").text());
    let records = world.run("tail -n 100 --json").json();
    assert_eq!(records.len(), 13);
    assert_eq!(records[12]["node"], "row");
    assert_eq!(world.run("tail -n 0").out, "");
}

/// As the other verbs do.
#[test]
fn what_is_no_record_is_told_and_a_record_needs_no_end() {
    let world = World::new();
    world.write(".tracer/a.jsonl", "no record\n");
    expect![[r#"
        --- messages
        error: expected one record as a JSON object a line in `.tracer/a.jsonl`, found no JSON (expected ident at byte 2) in line 1
          help: it is no file of records, or was overwritten; remove it from the directory, or give another file
        --- 3
    "#]]
    .assert_eq(&world.run("tail").text());
    assert_eq!(world.run("ls").text(), world.run("tail").text());
    world.write(".tracer/a.jsonl", lines(&handled("1", BEGIN_NS)).replace("\"schema\":1", "\"schema\":9"));
    assert_eq!(world.run("tail").code, 3);
    assert_eq!(world.run("ls").text(), world.run("tail").text());
    let text = lines(&handled("1", BEGIN_NS));
    world.write(".tracer/a.jsonl", text.trim_end());
    assert_eq!(world.run("tail -n 100").out.lines().count(), 3);
    // A part of one is none.
    world.write(".tracer/a.jsonl", &text[..text.len() - 5]);
    assert_eq!(world.run("tail -n 100").out.lines().count(), 2);
    // What is torn may be what comes.
    world.write(".tracer/a.jsonl", "{");
    assert_eq!(world.run("tail").code, 1);
}

/// A program that runs until somebody stops it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Nothing waits for a time: each line is read before the next is written.
#[test]
fn what_comes_is_followed() {
    let world = World::new();
    let first = handled("1", BEGIN_NS);
    world.write(".tracer/a.jsonl", lines(&first).trim_end());
    let mut command = world.command("tail -f -n 1 --json");
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut out = BufReader::new(running.0.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let append = |name: &str, text: &str| {
        let mut file = OpenOptions::new().append(true).create(true).open(world.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    // The last has no end yet.
    assert_eq!(next(), first[1]);
    append(".tracer/a.jsonl", "\n");
    assert_eq!(next(), first[2]);

    // A line that comes in two parts is one record.
    let second = declined("2", BEGIN_NS + 100 * MS);
    let text = lines(&second);
    append(".tracer/a.jsonl", &text[..text.len() / 2]);
    assert_eq!(next(), second[0]);
    append(".tracer/a.jsonl", &text[text.len() / 2..]);
    for record in &second[1..] {
        assert_eq!(next(), *record);
    }

    // A file that appears.
    let third = handled("3", BEGIN_NS + 200 * MS);
    std::fs::create_dir(world.path(".tracer/app")).unwrap();
    append(".tracer/app/b.jsonl", &lines(&third));
    for record in &third {
        assert_eq!(next(), *record);
    }

    // A file that begins anew.
    let fourth = handled("4", BEGIN_NS + 300 * MS);
    world.write_records(".tracer/a.jsonl", &fourth);
    for record in &fourth {
        assert_eq!(next(), *record);
    }
}
