// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
struct Order {
    id: u32,
}

fn order() -> u32 {
    Order { id: 1 }.id
}

fn main() {}
