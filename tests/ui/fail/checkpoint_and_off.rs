// Without a trace there is no place to keep it under.
use tracer::traced_node;

#[traced_node("charge", checkpoint, off)]
async fn charge() -> u32 {
    1
}

fn main() {}
