// The two exclude each other.
tracer::flow! { pub open webhook { shared parse; } }

#[tracer::traced_node(webhook::parse, shared, extern)]
fn parse() {}

fn main() {}
