// The error has no `Display`, at the return type.
use tracer::traced_node;

struct Opaque;

#[traced_node("parse", err = display)]
fn parse() -> Result<u32, Opaque> {
    Err(Opaque)
}

fn main() {}
