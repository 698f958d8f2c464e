// A node's name is none of the trace's own.
tracer::flow! {
    pub open webhook {
        parse -> error;
    }
}

fn main() {}
