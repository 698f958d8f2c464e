// The bound is reported at the return type.
use tracer::traced_node;

struct Secret;

#[traced_node("parse", record(ret))]
fn parse() -> Result<Secret, String> {
    Ok(Secret)
}

fn main() {}
