// The compiler's own "consider importing this struct".
mod flows {
    tracer::flow! { pub open webhook { parse; } }
}

#[tracer::traced_node(parse)]
fn parsing() {}

fn main() {}
