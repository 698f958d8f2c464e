// The attribute goes on functions.
use tracer::traced_node;

#[traced_node]
use std::fmt;

fn main() {}
