// A name is a string or a path.
use tracer::traced_node;

#[traced_node(7)]
fn seventh() {}

fn main() {}
