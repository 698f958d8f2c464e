// The words there are.
tracer::flow! {
    pub opne webhook {
        parse -> send;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

#[tracer::traced_node(webhook::send)]
fn send() {}

fn main() {}
