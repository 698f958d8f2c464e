// A node's name keeps the rule; the right one is offered.
tracer::flow! {
    pub open webhook {
        parse -> Send;
    }
}

fn main() {}
