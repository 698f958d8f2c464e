// Arguments that have no names cannot be handed on.
use tracer::traced_node;

#[traced_node]
unsafe extern "C" fn total(count: u32, _: ...) -> u32 {
    count
}

fn main() {}
