// An entry has no `self`.
use tracer::traced_node;

struct Shop;

impl Shop {
    #[traced_node("handle", entry)]
    fn handle(&self) {}
}

fn main() {}
