// A node name cannot be empty.
use tracer::traced_node;

#[traced_node("")]
fn parse() {}

fn main() {}
