// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
const ORDER: u32 = 1;

fn main() {}
