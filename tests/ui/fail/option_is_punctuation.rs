// What an argument looks like.
use tracer::traced_node;

#[traced_node("parse", *)]
fn parse() {}

fn main() {}
