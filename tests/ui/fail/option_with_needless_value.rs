// `root` stands alone.
use tracer::traced_node;

#[traced_node("parse", root = true)]
fn parse() {}

fn main() {}
