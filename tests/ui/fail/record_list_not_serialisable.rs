// The bound is reported where the argument is listed.
use tracer::traced_node;

struct Secret;

#[traced_node("parse", record(secret))]
async fn parse(secret: &Secret) -> Result<u32, String> {
    let _ = secret;
    Ok(1)
}

fn main() {}
