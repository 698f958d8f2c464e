// The nearest parameter.
use tracer::traced_node;

#[traced_node("parse", record(ordr))]
fn parse(order: u32) {
    println!("{order}");
}

fn main() {}
