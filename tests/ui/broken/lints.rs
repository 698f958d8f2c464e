//# unused_function
#[tracer::traced_node]
fn f() -> Option<u32> {
    None
}
//# unused_method
pub struct S;
impl S {
    #[tracer::traced_node]
    async fn f(&self) -> Option<u32> {
        None
    }
}
//# unused_argument
#[tracer::traced_node]
pub fn f(n: u32, (a, b): (u32, u32)) -> Option<u32> {
    Some(a)
}
//# unused_argument_async
#[tracer::traced_node]
pub async fn f(n: u32, (a, b): (u32, u32)) -> Option<u32> {
    Some(a)
}
//# unused_argument_unit
#[tracer::traced_node]
pub fn f(n: u32) {}
//# unused_mut
#[tracer::traced_node]
pub fn f(mut n: u32) -> Option<u32> {
    Some(n)
}
//# unused_mut_async
#[tracer::traced_node]
pub async fn f(mut n: u32) -> Option<u32> {
    Some(n)
}
//# unused_local
#[tracer::traced_node]
pub async fn f() -> Option<u32> {
    let mut n = 1;
    None
}
//# unused_result
#[tracer::traced_node]
pub fn f(r: Result<u32, String>) -> Option<u32> {
    Ok::<u32, u32>(1);
    r.ok()
}
//# unreachable
#[tracer::traced_node]
pub fn f() -> Option<u32> {
    return None;
    Some(1)
}
//# unreachable_async
#[tracer::traced_node]
pub async fn f() -> Option<u32> {
    return None;
    Some(1)
}
//# unused_assignment
#[tracer::traced_node]
pub fn f(mut n: u32) -> Option<u32> {
    n = 1;
    None
}
//# deprecated_call
#[deprecated]
pub fn old() {}
#[tracer::traced_node]
pub fn f() -> Option<u32> {
    old();
    None
}
//# not_snake_case
#[tracer::traced_node]
pub fn f(someArgument: u32) -> Option<u32> {
    Some(someArgument)
}
//# expectation_unfulfilled
#[tracer::traced_node]
pub fn f(#[expect(unused_variables)] n: u32) -> Option<u32> {
    Some(n)
}
//# unused_future
#[tracer::traced_node]
pub async fn f() {
    g();
}
#[tracer::traced_node]
pub async fn g() {}
//# private_type
struct Private;
#[tracer::traced_node]
pub fn f() -> Option<Private> {
    None
}
//# unused_lifetime_unconditional_recursion
#[tracer::traced_node]
pub fn f(n: u32) -> u32 {
    f(n)
}
