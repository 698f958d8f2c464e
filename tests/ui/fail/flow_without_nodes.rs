// A flow has nodes.
tracer::flow! {
    pub open webhook {
        
    }
}

fn main() {}
