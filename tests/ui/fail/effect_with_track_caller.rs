// The value cannot be seen under `#[track_caller]`.
use tracer::traced_node;

#[traced_node("charge", effect)]
#[track_caller]
fn charge() -> u32 {
    1
}

fn main() {}
