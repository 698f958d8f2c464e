// `extern` is about a declared node.
use tracer::traced_node;

#[traced_node(extern)]
fn parse() {}

fn main() {}
