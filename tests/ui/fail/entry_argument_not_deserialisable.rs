// An entry's arguments have to be read back, at the argument.
use tracer::traced_node;

#[derive(serde::Serialize)]
struct Order;

#[traced_node("handle", entry)]
fn handle(order: &Order) -> u32 {
    let _ = order;
    1
}

fn main() {}
