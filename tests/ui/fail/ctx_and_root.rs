// The two exclude each other.
use tracer::traced_node;

#[traced_node("parse", root, ctx = ctx)]
fn parse(ctx: &mut tracer::Context) {
    let _ = ctx;
}

fn main() {}
