// A name is for one function.
use tracer::traced_node;

struct Shop;

#[traced_node("shop")]
impl Shop {
    fn order(&self) {}
}

fn main() {}
