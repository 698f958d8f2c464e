// The edge that closes the cycle, and the cycle.
tracer::flow! {
    pub open webhook {
        parse -> validate -> send;
        send -> parse;
    }
}

fn main() {}
