//! What was it doing when it was killed?
//!
//! One line in `main`, and what a traced call has recorded survives the process, however that dies. This one kills
//! itself: `cargo run -p tracer-examples --example blackbox`, then `cargo run -p tracer-cli -- show last`. Run it again with
//! `-- carefully`, and it lives, and tells of the first.

use std::process::Command;

use tracer::traced_node;

#[traced_node]
fn night_run() {
    (1..=100).for_each(|order| charge(order, 1900 + order));
}

#[traced_node(record)]
fn charge(order: u32, cents: u32) {
    if order == 4 && std::env::args().nth(1).is_none() {
        println!("about to charge {cents} cents");
        // As the system does when memory runs out: nothing can be handled, flushed or said any more.
        let itself = std::process::id().to_string();
        Command::new("kill").args(["-KILL", &itself]).status().expect("there is a program `kill`");
    }
}

fn main() {
    tracer_blackbox::init();
    night_run();
}

// tr_… night_run · lost · _
// …          night_run
// ✓ _  ├─ charge(cents=1901, order=1)
// ✓ _  ├─ charge(cents=1902, order=2)
// ✓ _  ├─ charge(cents=1903, order=3)
// …          └─ charge(cents=1904, order=4)
//
// began   …
// file    .tracer/blackbox/….tbx (black box)
// read    recovered 9 records, nothing is missing
// process blackbox, pid _: killed (SIGKILL, or a signal that leaves no note)
// alive   until …, if not for longer
// open    night_run, entered after _, open for at least _
// open    charge(cents=1904, order=4), entered after _, the last that was recorded
