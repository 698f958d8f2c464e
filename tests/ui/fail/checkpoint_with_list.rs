// The way is behind an equals sign.
use tracer::traced_node;

#[traced_node("charge", checkpoint(at_most_once))]
async fn charge() -> u32 {
    1
}

fn main() {}
