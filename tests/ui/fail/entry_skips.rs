// An entry needs all its arguments.
use tracer::traced_node;

#[traced_node("handle", entry, skip(order))]
fn handle(order: u32) {
    println!("{order}");
}

fn main() {}
