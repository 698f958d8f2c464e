// All options.
use tracer::traced_node;

#[traced_node("parse", level = "info")]
fn parse() {}

fn main() {}
