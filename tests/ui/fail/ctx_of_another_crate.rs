// Another crate's `Context`, at the parameter's name in the option.
use tracer::traced_node;

struct Context;

#[traced_node("parse", ctx = ctx)]
fn parse(ctx: &mut Context) {
    let _ = ctx;
}

fn main() {}
