// The name comes before the options.
use tracer::traced_node;

#[traced_node(root, "parse")]
fn parse() {}

fn main() {}
