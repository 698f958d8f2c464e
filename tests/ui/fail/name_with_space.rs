// A space is not allowed; the repaired name is offered.
use tracer::traced_node;

#[traced_node("validate order")]
fn validate() {}

fn main() {}
