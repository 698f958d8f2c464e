// The nearest parameter.
use tracer::traced_node;

#[traced_node("parse", record, skip(secrt))]
fn parse(secret: u32) {
    println!("{secret}");
}

fn main() {}
