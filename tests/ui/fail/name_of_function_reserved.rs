// The function's own name is reserved.
use tracer::traced_node;

#[traced_node]
fn root() {}

fn main() {}
