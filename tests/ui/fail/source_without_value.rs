// The value is missing.
use tracer::traced_node;

#[traced_node("parse", source = )]
fn parse() {}

fn main() {}
