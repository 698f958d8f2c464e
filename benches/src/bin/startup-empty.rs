//! Does nothing: what `startup` compares with.

fn main() {}
