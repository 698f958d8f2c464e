// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
macro_rules! order {
    () => {};
}

fn main() {}
