// `ctx` takes the name of a parameter.
use tracer::traced_node;

#[traced_node("parse", ctx = 1)]
fn parse(ctx: &mut tracer::Context) {
    let _ = ctx;
}

fn main() {}
