// The two exclude each other.
use tracer::traced_node;

#[traced_node("charge", entry, checkpoint)]
async fn charge() -> u32 {
    1
}

fn main() {}
