// One list is enough.
use tracer::traced_node;

#[traced_node("parse", record(a), skip(b))]
fn parse(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {}
