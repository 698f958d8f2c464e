// The three texts there are.
use tracer::traced_node;

#[traced_node("parse", err = dispaly)]
fn parse() -> Result<u32, String> {
    Ok(1)
}

fn main() {}
