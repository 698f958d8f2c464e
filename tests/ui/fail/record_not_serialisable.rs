// The bound is reported at the argument.
use tracer::traced_node;

struct Secret;

#[traced_node("parse", record)]
fn parse(order: u32, secret: Secret) -> u32 {
    drop(secret);
    order
}

fn main() {}
