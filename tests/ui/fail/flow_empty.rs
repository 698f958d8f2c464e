// `flow!` declares something.
tracer::flow! {}

fn main() {}
