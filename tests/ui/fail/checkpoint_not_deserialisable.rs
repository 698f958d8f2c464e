// What is kept has to be read back, at the return type.
use tracer::traced_node;

#[derive(serde::Serialize)]
struct Receipt;

#[traced_node("charge", checkpoint)]
async fn charge() -> Result<Receipt, String> {
    Ok(Receipt)
}

fn main() {}
