// `err` needs a `Result`, at the return type.
use tracer::traced_node;

#[traced_node("parse", err = display)]
fn parse() -> u32 {
    1
}

fn main() {}
