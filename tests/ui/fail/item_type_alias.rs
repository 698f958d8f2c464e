// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
type Order = u32;

fn main() {}
