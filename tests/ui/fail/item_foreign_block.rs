// Foreign functions have no bodies.
use tracer::traced_node;

#[traced_node]
unsafe extern "C" {
    fn getpid() -> i32;
}

fn main() {}
