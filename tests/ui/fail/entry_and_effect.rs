// The two exclude each other.
use tracer::traced_node;

#[traced_node("parse", entry, effect)]
fn parse() -> u32 {
    1
}

fn main() {}
