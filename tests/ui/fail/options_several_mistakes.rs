// All mistakes at once, each at its own word.
use tracer::traced_node;

#[traced_node("Parse", captrue(order), root, fork, record(ordr))]
fn parse(order: u32) -> u32 {
    order
}

fn main() {}
