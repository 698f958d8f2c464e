// The error has no `Debug`, at the return type.
use tracer::traced_node;

struct Opaque;

#[traced_node("parse", err = debug)]
async fn parse() -> Result<u32, Opaque> {
    Err(Opaque)
}

fn main() {}
