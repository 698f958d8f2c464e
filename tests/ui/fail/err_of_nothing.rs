// `err` needs a function that returns something.
use tracer::traced_node;

#[traced_node("parse", err = debug)]
fn parse() {}

fn main() {}
