// Nothing comes back to look at.
use tracer::traced_node;

#[traced_node("parse", fail_if = |_| true)]
fn parse() -> ! {
    panic!()
}

fn main() {}
