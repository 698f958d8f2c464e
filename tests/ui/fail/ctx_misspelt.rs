// The nearest parameter.
use tracer::traced_node;

#[traced_node("parse", ctx = cxt)]
fn parse(ctx: &mut tracer::Context) {
    let _ = ctx;
}

fn main() {}
