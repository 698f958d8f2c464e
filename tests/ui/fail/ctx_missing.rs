// There is no such parameter.
use tracer::traced_node;

#[traced_node("parse", ctx = ctx)]
fn parse() {}

fn main() {}
