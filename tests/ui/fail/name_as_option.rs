// A habit from elsewhere.
use tracer::traced_node;

#[traced_node(name = "parse", record)]
fn parse(text: &str) {
    println!("{text}");
}

fn main() {}
