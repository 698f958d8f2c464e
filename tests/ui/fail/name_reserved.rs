// `error` is reserved for the trace's own steps.
use tracer::traced_node;

#[traced_node("error")]
fn parse() {}

fn main() {}
