// A node is missing behind the arrow.
tracer::flow! {
    pub open webhook {
        parse -> ;
    }
}

fn main() {}
