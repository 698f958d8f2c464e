// The arrows there are.
tracer::flow! {
    pub open webhook {
        parse => send;
    }
}

fn main() {}
