// What is not recorded cannot be redacted.
use tracer::traced_node;

#[traced_node("pay", redact(card.number))]
fn pay(card: &str) {
    println!("{card}");
}

fn main() {}
