// A type that is not a node: how to declare one.
use tracer::traced_node;

struct Order;

#[traced_node(Order)]
fn order() {}

fn main() {}
