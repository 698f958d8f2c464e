// A function that cannot wait cannot keep its result.
use tracer::traced_node;

#[traced_node("charge", checkpoint)]
fn charge() -> Result<u32, String> {
    Ok(1)
}

fn main() {}
