// `source` takes a string.
use tracer::traced_node;

#[traced_node("parse", source)]
fn parse() {}

fn main() {}
