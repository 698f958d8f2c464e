#![allow(dead_code)]
//# unknown_value
#[tracer::traced_node]
fn f(n: u32) -> Result<u32, String> {
    Ok(m)
}
//# unknown_value_async
#[tracer::traced_node]
async fn f(n: u32) -> Result<u32, String> {
    Ok(m)
}
//# unknown_type_in_signature
#[tracer::traced_node]
fn f(n: Missing) -> Result<u32, String> {
    Ok(1)
}
//# unknown_return_type
#[tracer::traced_node]
fn f() -> Result<Missing, String> {
    Err(String::new())
}
//# unknown_return_type_async
#[tracer::traced_node]
async fn f() -> Result<Missing, String> {
    Err(String::new())
}
//# unknown_lifetime
#[tracer::traced_node]
fn f(text: &'a str) -> Option<u32> {
    Some(1)
}
//# missing_lifetime
#[tracer::traced_node]
fn f(a: &str, b: &str) -> Option<&str> {
    Some(a)
}
//# wrong_number_of_generics
#[tracer::traced_node]
fn f() -> Option<u32, u32> {
    None
}
//# unknown_macro
#[tracer::traced_node]
async fn f() -> Option<u32> {
    missing!()
}
//# self_in_function
#[tracer::traced_node]
fn f() -> Option<u32> {
    self.n
}
//# break_outside_loop: the closure is shown, too
#[tracer::traced_node]
fn f() -> Option<u32> {
    loop {}
    break;
}
//# parameter_twice
#[tracer::traced_node]
fn f(n: u32, n: u32) -> u32 {
    n
}
//# refutable_parameter
#[tracer::traced_node]
fn f(Some(n): Option<u32>) -> Option<u32> {
    Some(n)
}
