// `extern` needs a flow that is `open`.
tracer::flow! {
    pub webhook {
        parse -> validate;
    }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

#[tracer::traced_node(webhook::validate)]
fn validate() {}

#[tracer::traced_node(webhook::validate, extern)]
fn validate_too() {}

fn main() {}
