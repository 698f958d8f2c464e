// There are two ways to deal with a node that was begun.
use tracer::traced_node;

#[traced_node("charge", checkpoint = at_most_onse)]
async fn charge() -> u32 {
    1
}

fn main() {}
