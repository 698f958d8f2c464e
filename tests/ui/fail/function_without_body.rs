// A declaration only.
use tracer::traced_node;

trait Shop {
    #[traced_node]
    fn order(&self);
}

fn main() {}
