// In a `partial` flow it is a warning.
#![deny(warnings)]
tracer::flow! {
    pub partial webhook {
        parse -> validate;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

fn main() {}
