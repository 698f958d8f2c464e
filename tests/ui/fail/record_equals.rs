// `record` has parentheses.
use tracer::traced_node;

#[traced_node("parse", record = order)]
fn parse(order: u32) {
    println!("{order}");
}

fn main() {}
