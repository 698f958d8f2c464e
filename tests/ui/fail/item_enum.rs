// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
pub enum Order {
    Paid,
}

fn main() {}
