// An effect's result has to be read back, at the return type.
use tracer::traced_node;

#[derive(serde::Serialize)]
struct Receipt;

#[traced_node("charge", effect)]
fn charge() -> Result<Receipt, String> {
    Ok(Receipt)
}

fn main() {}
