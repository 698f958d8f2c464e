// Two functions are one node: both places are shown.
tracer::flow! {
    pub webhook {
        parse -> validate;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

#[tracer::traced_node(webhook::validate)]
fn validate() {}

struct Strict;

impl Strict {
    #[tracer::traced_node(webhook::validate)]
    fn validate(&self) {}
}

fn main() {}
