// At most 64 bytes.
use tracer::traced_node;

#[traced_node("a_name_that_goes_on_and_on_until_it_has_more_than_the_sixty_four_bytes")]
fn validate() {}

fn main() {}
