// The nearest option, and all of them.
use tracer::traced_node;

#[traced_node("parse", reocrd)]
fn parse(text: &str) {
    println!("{text}");
}

fn main() {}
