// The function's own name is no node name; the one to write is offered.
use tracer::traced_node;

#[allow(non_snake_case)]
#[traced_node]
fn ParseHttp() {}

fn main() {}
