//! Lints that are expected: an expectation that nothing fulfils is a warning, and so an error here.

use tracer::traced_node;

#[traced_node]
#[expect(dead_code)]
fn unused() -> Option<u32> {
    None
}

#[expect(dead_code)]
#[traced_node]
async fn unused_async() {}

struct Unused;

impl Unused {
    #[traced_node]
    #[expect(dead_code)]
    fn method(&self, n: u32) -> Option<u32> {
        Some(n)
    }
}

#[traced_node]
#[expect(unused_variables)]
pub fn unused_argument(n: u32) -> Option<u32> {
    None
}

#[traced_node]
pub fn unused_argument_itself(#[expect(unused_variables)] n: u32) -> Option<u32> {
    None
}

#[traced_node]
#[expect(unused_variables)]
pub fn unused_argument_in_place(n: u32) {}

#[traced_node]
#[expect(unused_variables)]
pub async fn unused_argument_async(n: u32, (a, b): (u32, u32)) -> u32 {
    a
}

#[traced_node]
#[expect(unused_variables, unused_mut)]
pub fn unused_mut(mut n: u32) -> Option<u32> {
    let local = 1;
    Some(n)
}

#[traced_node]
#[expect(unreachable_code)]
pub async fn unreachable() -> Option<u32> {
    return None;
    Some(1)
}

#[traced_node]
#[expect(unused_must_use)]
pub fn unused_result(result: Result<u32, String>) -> Option<u32> {
    Ok::<u32, u32>(1);
    result.ok()
}

#[traced_node]
pub fn expected_inside() -> Option<u32> {
    #[expect(unused_variables)]
    let n = 1;
    None
}
