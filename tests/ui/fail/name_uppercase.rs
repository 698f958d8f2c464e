// The name starts with a capital; the repaired name is offered.
use tracer::traced_node;

#[traced_node("Validate Order!")]
fn validate() {}

fn main() {}
