// An entry's result is compared, at the return type.
use tracer::traced_node;

struct Receipt;

#[traced_node("handle", entry)]
async fn handle(order: u32) -> Receipt {
    let _ = order;
    Receipt
}

fn main() {}
