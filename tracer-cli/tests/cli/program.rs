//! Files that a traced program has written.

use tracer::{JsonLines, Tracer, create_env, traced_node};

use crate::world::World;

#[derive(Debug)]
struct Declined;

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("declined")
    }
}

impl std::error::Error for Declined {}

#[traced_node(record)]
fn charge(amount: u32) -> Result<(), Declined> {
    if amount > 5 { Err(Declined) } else { Ok(()) }
}

#[traced_node]
fn handle(amount: u32) -> Result<(), Declined> {
    charge(1)?;
    charge(amount)
}

#[traced_node]
fn attempts() {
    while charge(9).is_err() {
        if charge(1).is_ok() {
            return;
        }
    }
}

#[test]
fn what_a_program_recorded_is_listed_and_drawn() {
    let world = World::new();
    let file = JsonLines::to_file(world.path(".tracer/app.jsonl")).unwrap();
    let tracer = Tracer::builder().recorder(file).install();
    drop(create_env("payload", "other"));
    assert!(handle(7).is_err());
    attempts();
    tracer.flush();

    let recovered = world.run("ls --source attempts").out;
    assert!(recovered.contains("  recovered  "), "{recovered}");
    assert!(recovered.trim_end().ends_with("3 spans  ✗ charge: Declined: declined"), "{recovered}");
    let listed = world.run("ls --failed").out;
    assert!(listed.trim_end().ends_with("3 spans  ✗ charge: Declined: declined"), "{listed}");
    let shown = world.run("show last-failed").out;
    let drawn: Vec<_> = shown.lines().map(|line| line.split("  ").last().unwrap()).take(4).skip(1).collect();
    assert_eq!(drawn, ["handle", "├─ charge(amount=1)", "└─ charge(amount=7) — Declined: declined"], "{shown}");
    let found = world.run("doctor --dir .tracer/app.jsonl");
    assert_eq!(found.code, 0, "{}", found.text());
}
