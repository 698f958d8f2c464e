// `record` takes names.
use tracer::traced_node;

#[traced_node("parse", record(order + 1))]
fn parse(order: u32) {
    println!("{order}");
}

fn main() {}
