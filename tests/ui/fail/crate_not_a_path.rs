// `crate` takes a path.
use tracer::traced_node;

#[traced_node(crate = "tracer")]
fn parse() {}

fn main() {}
