// A name is a string, not bytes.
use tracer::traced_node;

#[traced_node(b"parse")]
fn parse() {}

fn main() {}
