// `shared` has to be said in the flow too.
tracer::flow! {
    pub webhook {
        parse -> validate;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

#[tracer::traced_node(webhook::validate)]
fn validate() {}

#[tracer::traced_node(webhook::validate, shared)]
fn validate_too() {}

fn main() {}
