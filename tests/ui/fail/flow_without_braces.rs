// What a flow looks like.
tracer::flow! {
    pub webhook;
}

fn main() {}
