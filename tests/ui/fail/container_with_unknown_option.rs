// Told once, not for each function.
use tracer::traced_node;

struct Shop;

#[traced_node(recrod = 1)]
impl Shop {
    fn order(&self) {}
    fn pay(&self) {}
}

fn main() {}
