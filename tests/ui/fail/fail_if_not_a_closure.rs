// `fail_if` needs something to call.
use tracer::traced_node;

#[traced_node("parse", fail_if)]
fn parse() -> u32 {
    1
}

fn main() {}
