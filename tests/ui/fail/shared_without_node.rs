// `shared` is about a declared node.
use tracer::traced_node;

#[traced_node("parse", shared)]
fn parse() {}

fn main() {}
