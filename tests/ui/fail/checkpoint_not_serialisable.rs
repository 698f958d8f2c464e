// Likewise without a `Result`.
use tracer::traced_node;

struct Receipt;

#[traced_node("charge", checkpoint = at_most_once)]
async fn charge() -> Receipt {
    Receipt
}

fn main() {}
