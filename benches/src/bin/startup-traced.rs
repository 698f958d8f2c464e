//! Makes a black box and one call.

#[tracer::traced_node]
fn work() {}

fn main() {
    let _black_box = tracer_blackbox::init();
    work();
}
