// One attribute is enough.
use tracer::traced_node;

#[traced_node]
#[traced_node("other")]
fn order() {}

fn main() {}
