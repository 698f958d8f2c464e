// The first word may be a declared node; one that is nearly an option is taken for that.
use tracer::traced_node;

#[traced_node(recrod)]
fn parse(text: &str) {
    println!("{text}");
}

#[traced_node(sourc = "queue", recrod(text))]
fn validate(text: &str) {
    println!("{text}");
}

fn main() {}
