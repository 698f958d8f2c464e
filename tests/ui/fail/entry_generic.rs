// An entry has concrete types.
use tracer::traced_node;

#[traced_node("handle", entry)]
fn handle<T>(order: T) {
    drop(order);
}

fn main() {}
