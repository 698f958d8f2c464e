// `err` needs a text.
use tracer::traced_node;

#[traced_node("parse", err)]
fn parse() -> Result<u32, String> {
    Ok(1)
}

fn main() {}
