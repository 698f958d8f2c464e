// The two exclude each other.
use tracer::traced_node;

#[traced_node("parse", root, fork)]
fn parse() {}

fn main() {}
