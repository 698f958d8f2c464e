// There is nothing to record.
use tracer::traced_node;

#[traced_node("parse", record(ret))]
fn parse() {}

fn main() {}
