// The function's own name is no node name; the one to write is offered.
use tracer::traced_node;

#[traced_node]
fn _helper() {}

fn main() {}
