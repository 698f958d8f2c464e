// A name starts with a letter.
use tracer::traced_node;

#[traced_node("2nd_try")]
fn validate() {}

fn main() {}
