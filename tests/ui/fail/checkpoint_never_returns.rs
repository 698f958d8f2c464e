// There is nothing to keep.
use tracer::traced_node;

#[traced_node("serve", checkpoint)]
async fn serve() -> ! {
    loop {}
}

fn main() {}
