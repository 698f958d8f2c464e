// All mistakes at once; the functions add none.
tracer::flow! {
    pub webhook {
        parse -> validate -> send;
        send -> parse;
        send -> send;
        audit;
        validate => send;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

fn main() {}
