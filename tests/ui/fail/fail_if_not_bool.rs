// The closure says yes or no.
use tracer::traced_node;

#[traced_node("parse", fail_if = |r| *r + 1)]
fn parse() -> u32 {
    1
}

fn main() {}
