// The parentheses are empty.
use tracer::traced_node;

#[traced_node("parse", record())]
fn parse(order: u32) {
    println!("{order}");
}

fn main() {}
