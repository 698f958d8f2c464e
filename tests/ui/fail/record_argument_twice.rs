// One is enough.
use tracer::traced_node;

#[traced_node("parse", record(order, order))]
fn parse(order: u32) {
    println!("{order}");
}

fn main() {}
