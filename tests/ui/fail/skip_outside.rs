// Nothing around is traced, so there is nothing to leave it out of.
use tracer::traced_node;

#[traced_node(skip)]
fn parse(a: u32) {
    println!("{a}");
}

#[traced_node(skip)]
mod shop {
    #[tracer::traced_node]
    pub fn order() {}
}

fn main() {
    parse(1);
    shop::order();
}
