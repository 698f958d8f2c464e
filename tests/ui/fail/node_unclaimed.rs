// A declared node without a function, marked in `flow!`.
tracer::flow! {
    pub webhook {
        parse -> validate;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

fn main() {}
