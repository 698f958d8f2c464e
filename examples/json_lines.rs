//! How do I write traces to a file, and read them?
//!
//! One JSON object a line, which any program can read; here it is this one.
//! `cargo run -p tracer-examples --example json_lines`

use std::error::Error;
use std::fs;

use serde::{Deserialize, Serialize};
use tracer::tree::Tree;
use tracer::{JsonLines, Record, Tracer, traced_node};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u32,
    card: String,
}

#[traced_node(record(order, ret), redact(order.card))]
fn handle(order: &Order) -> Result<u32, std::num::TryFromIntError> {
    let fee = fee(i64::from(order.id) - 18)?;
    Ok(order.id + fee)
}

#[traced_node(record)]
fn fee(of: i64) -> Result<u32, std::num::TryFromIntError> {
    u32::try_from(of)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("tracer-example-{}.jsonl", std::process::id()));
    let tracer = Tracer::builder().recorder(JsonLines::to_file(&path)?).install();
    for id in [20, 17] {
        let order = Order { id, card: "4242 4242 4242 4242".to_owned() };
        println!("order {id}: {:?}", handle(&order).ok());
    }
    // Lines are written by a thread of the recorder's own: wait until they are.
    tracer.flush();

    let text = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    println!("\n{} lines, one of them:", text.lines().count());
    println!("{}\n", text.lines().last().unwrap_or_default());

    let records: Vec<Record> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for tree in Tree::of(&records, &[]) {
        println!("{tree}");
    }
    Ok(())
}

// order 20: Some(22)
// order 17: None
//
// 10 lines, one of them:
// {"type":"note","schema":1,"trace_id":"…","env_id":"…","step_id":3,"seq":11,"ts":"…","note":{"kind":"unwound","frame":"0.1","node":"handle","error":"err"}}
//
// handle(order={"card":•••,"id":20}) → 22
// └─ fee(of=2)
//
// handle(order={"card":•••,"id":17}) ↑
// └─ fee(of=-1) ✗ TryFromIntError: out of range integral type conversion attempted
//
