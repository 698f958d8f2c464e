// A trace of its own is not the attempt's.
use tracer::traced_node;

#[traced_node("charge", root, checkpoint)]
async fn charge() -> u32 {
    1
}

fn main() {}
