// The second one.
tracer::flow! {
    pub open webhook {
        parse -> send;
        parse -> send;
    }
}

fn main() {}
