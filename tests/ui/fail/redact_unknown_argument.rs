// The nearest parameter.
use tracer::traced_node;

#[traced_node("pay", record, redact(crad))]
fn pay(card: &str) {
    println!("{card}");
}

fn main() {}
