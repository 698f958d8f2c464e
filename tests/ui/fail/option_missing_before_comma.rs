// Nothing before a comma.
use tracer::traced_node;

#[traced_node("parse", , root)]
fn parse() {}

fn main() {}
