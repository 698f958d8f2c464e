//! What do I have to write, and what do I get? The program of the README.
//!
//! `cargo run -p tracer-examples --example quickstart`

use tracer::traced_node;

#[traced_node(record)]
fn parse(amount: &str) -> Result<u32, std::num::ParseIntError> {
    amount.parse()
}

#[traced_node]
fn charge(amounts: &[&str]) -> u32 {
    amounts.iter().filter_map(|amount| parse(amount).ok()).sum()
}

fn main() {
    let recording = tracer::test::record(|| charge(&["17", "x", "4"]));
    print!("{recording}");
}

// charge
// ├─ parse(amount="17")
// ├─ parse(amount="x") ✗ ParseIntError: invalid digit found in string
// └─ parse(amount="4")
