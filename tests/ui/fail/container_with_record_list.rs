// The list is for one function.
use tracer::traced_node;

struct Shop;

#[traced_node(record(id))]
impl Shop {
    fn order(&self, id: u32) -> u32 {
        id
    }
}

fn main() {}
