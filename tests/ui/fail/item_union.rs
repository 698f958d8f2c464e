// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
pub union Order {
    id: u32,
}

fn main() {}
