// The compiler's own "a struct with a similar name exists".
tracer::flow! {
    pub webhook {
        parse -> validate;
    }
    open sketch { draft; }
}

#[tracer::traced_node(webhook::parse)]
fn parse() {}

#[tracer::traced_node(webhook::validate)]
fn validate() {}

#[tracer::traced_node(sketch::draf)]
fn draft() {}

fn main() {}
