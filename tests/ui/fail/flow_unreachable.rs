// How to reach it, or to say that it is an entry.
tracer::flow! {
    pub open webhook {
        parse -> send;
        audit -> store;
    }
}

fn main() {}
