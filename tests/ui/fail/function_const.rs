// A `const fn` has no steps.
use tracer::traced_node;

#[traced_node]
const fn order() -> u32 {
    1
}

const ORDER: u32 = order();

fn main() {}
