// Only one of the two is needed.
use tracer::traced_node;

#[traced_node("parse", fork, fork)]
fn parse() {}

fn main() {}
