// A mistake in the body is told as without the attribute.
use tracer::traced_node;

#[traced_node]
fn order(id: u32) -> Result<u32, String> {
    let id: String = id;
    Ok(idd)
}

fn main() {}
