// An arrow or a semicolon is missing.
tracer::flow! {
    pub open webhook {
        parse -> send
        store;
    }
}

fn main() {}
