// The name comes once.
use tracer::traced_node;

#[traced_node("parse", "validate")]
fn parse() {}

fn main() {}
