//! `ls` and `stats`.

use expect_test::expect;

use crate::world::{BEGIN_NS, MS, World, declined, handled, three_traces};

#[test]
fn traces_are_listed_newest_first() {
    let world = three_traces();
    expect![[r#"
        cd0000  2026-01-02T03:05:05Z  import   lost       4.00 ms   3 spans  … row(nr=2)
        ab0200  2026-01-02T03:04:05Z  webhook  ok         3.00 ms    1 span
        ab0100  2026-01-02T03:04:05Z  webhook  failed     12.0 ms   2 spans  ✗ charge: CardError: declined
        --- 0
    "#]]
    .assert_eq(&world.run("ls").text());
    expect![[r#"
        {"trace_id":"cd000000000000000000000000000000","short":"cd0000","source":"import","start_ns":"1767323105000000000","end_ns":"1767323105004000000","state":"lost","duration_ns":4000000,"spans":3,"node":"row","files":[".tracer/b.jsonl"]}
        --- 0
    "#]].assert_eq(&world.run("ls --failed --limit 1 --json").text());
}

#[test]
fn filters_are_added_to_each_other() {
    let world = three_traces();
    let ids = |arguments: &str| {
        let listed = world.run(&format!("ls --json {arguments}")).json();
        listed.iter().map(|trace| trace["short"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(""), "cd0000 ab0200 ab0100");
    assert_eq!(ids("--failed"), "cd0000 ab0100");
    assert_eq!(ids("--limit 2"), "cd0000 ab0200");
    assert_eq!(ids("--source web"), "ab0200 ab0100");
    assert_eq!(ids("--source web --failed"), "ab0100");
    assert_eq!(ids("--limit 0"), "");
    expect![[r#"
        --- messages
        note: none of 3 traces is like that
        --- 1
    "#]]
    .assert_eq(&world.run("ls --source nobody").text());
}

#[test]
fn short_ids_are_as_long_as_they_have_to_be() {
    let world = World::new();
    let traces = [handled("1234567890a…", BEGIN_NS), handled("1234567890b…", BEGIN_NS + MS)].concat();
    world.write_records(".tracer/a.jsonl", &traces);
    let listed = world.run("ls").out;
    assert!(listed.starts_with("1234567890b  ") && listed.contains("\n1234567890a  "), "{listed}");
}

#[test]
fn where_to_look_can_be_said_in_three_ways() {
    let world = three_traces();
    let count = |arguments: &str, variable: &str| {
        let output = world.command(&format!("ls {arguments}")).env("TRACER_DIR", variable).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(count("", ""), 3);
    assert_eq!(count("", ".tracer/shop"), 2);
    assert_eq!(count("--dir .tracer/b.jsonl", ".tracer/shop"), 1);
    assert_eq!(count("--dir .tracer/b.jsonl --dir .tracer/shop", ""), 3);
    assert_eq!(count("--dir .tracer/b.jsonl --dir .tracer", ""), 3);
}

#[test]
fn a_trace_that_is_in_two_files_is_one() {
    let world = three_traces();
    world.write_records(".tracer/copy.jsonl", &declined("ab01…", BEGIN_NS));
    assert_eq!(world.run("ls").out.lines().count(), 3);
    let shown = &world.run("show ab01 --json").json()[0];
    assert_eq!((&shown["spans"].as_array().unwrap().len(), &shown["files"].as_array().unwrap().len()), (&2, &2));
}

#[test]
fn nothing_is_told_from_no_place() {
    let world = World::new();
    expect![[r#"
        --- messages
        note: no traces in `.tracer`
        --- 1
    "#]]
    .assert_eq(&world.run("ls").text());
    expect![[r#"
        --- messages
        error: expected a directory or a file of records at `nowhere`, found nothing
          help: run a traced program that records to files, or say where the files are: `--dir PATH` or TRACER_DIR
        --- 3
    "#]]
    .assert_eq(&world.run("ls --dir nowhere").text());
    assert_eq!(world.run("stats").code, 1);
    assert_eq!(world.run("tail").code, 1);
    assert_eq!(world.run("recover").code, 1);
}

#[test]
fn counts_are_per_file_and_trace() {
    let world = three_traces();
    let mut missing = declined("ef…", BEGIN_NS);
    missing.remove(2);
    world.write_records(".tracer/c.jsonl", &missing);
    expect![[r#"
          records    traces   missing      size  file
                5         1         0  1.08 KiB  .tracer/b.jsonl
                4         1         0     957 B  .tracer/c.jsonl
                8         2         0  1.79 KiB  .tracer/shop/a.jsonl

          records     spans   missing     state  trace
                5         3         0      lost  cd0000 import
                3         1         0        ok  ab0200 webhook
                5         2         0    failed  ab0100 webhook
                4         1         1    failed  ef0000 webhook

        3 files of 3.81 KiB: 17 records of 4 traces (2 failed, 1 lost, 1 ok)
        --- 0
    "#]]
    .assert_eq(&world.run("stats").text());
    let all = world.run("stats --json").json().pop().unwrap();
    assert_eq!((&all["of"], &all["records"], &all["by_state"]["failed"]), (&"all".into(), &17.into(), &2.into()));
}
