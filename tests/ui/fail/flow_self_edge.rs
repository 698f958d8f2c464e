// How to say that a retry is meant.
tracer::flow! {
    pub open webhook {
        parse -> send -> send;
    }
}

fn main() {}
