// There is no `self` to record.
use tracer::traced_node;

#[traced_node("parse", record(self))]
fn parse() {}

fn main() {}
