// `skip` alone goes alone.
use tracer::traced_node;

#[traced_node("parse", skip)]
fn parse() {}

fn main() {}
