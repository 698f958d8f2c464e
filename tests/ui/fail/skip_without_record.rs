// Nothing is recorded, so nothing can be skipped.
use tracer::traced_node;

#[traced_node("parse", skip(a))]
fn parse(a: u32) {
    println!("{a}");
}

fn main() {}
