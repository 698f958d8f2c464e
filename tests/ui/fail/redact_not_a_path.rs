// `redact` takes dotted names.
use tracer::traced_node;

#[traced_node("pay", record, redact(card["number"]))]
fn pay(card: &str) {
    println!("{card}");
}

fn main() {}
