#![allow(dead_code)]
//# missing_tail: only of functions it is said that they return `()` without saying so
#[tracer::traced_node]
fn f(n: u32) -> Result<u32, String> {
    n + 1;
}
//# missing_tail_infallible
#[tracer::traced_node]
fn f(n: u32) -> u32 {
    n + 1;
}
//# missing_tail_async
#[tracer::traced_node]
async fn f(n: u32) -> Result<u32, String> {
    Ok::<u32, String>(n);
}
//# empty_body: only of functions it is said that they return `()` without saying so
#[tracer::traced_node]
fn f() -> Result<u32, String> {}
//# empty_body_async
#[tracer::traced_node]
async fn f() -> Result<u32, String> {}
//# wrong_tail
#[tracer::traced_node]
fn f(n: u32) -> String {
    n
}
//# wrong_tail_async: a note says where the type comes from, instead of a label
#[tracer::traced_node]
async fn f(n: u32) -> String {
    n
}
//# wrong_ok
#[tracer::traced_node]
fn f() -> Result<u32, String> {
    Ok("text")
}
//# wrong_ok_async
#[tracer::traced_node]
async fn f() -> Result<u32, String> {
    Ok("text")
}
//# wrong_return
#[tracer::traced_node]
fn f(n: u32) -> Result<u32, String> {
    if n == 0 {
        return Err(5);
    }
    Ok(n)
}
//# wrong_return_async
#[tracer::traced_node]
async fn f(n: u32) -> Result<u32, String> {
    if n == 0 {
        return Err(5);
    }
    Ok(n)
}
//# return_from_unit
#[tracer::traced_node]
fn f(n: u32) {
    if n == 0 {
        return 5;
    }
}
//# tail_of_unit
#[tracer::traced_node]
fn f(n: u32) {
    n
}
//# tail_of_unit_async: a note says where the type comes from, and no help that one could be written
#[tracer::traced_node]
async fn f(n: u32) {
    n
}
//# bare_return
#[tracer::traced_node]
fn f(n: u32) -> Result<u32, String> {
    if n == 0 {
        return;
    }
    Ok(n)
}
//# question_mark_conversion
#[tracer::traced_node]
fn f(text: &str) -> Result<u32, std::fmt::Error> {
    let n: u32 = text.parse()?;
    Ok(n)
}
//# question_mark_conversion_async
#[tracer::traced_node]
async fn f(text: &str) -> Result<u32, std::fmt::Error> {
    let n: u32 = text.parse()?;
    Ok(n)
}
//# question_mark_on_option: the label is at `fn` and not at all of the function
#[tracer::traced_node]
fn f(n: Option<u32>) -> Result<u32, String> {
    Ok(n?)
}
//# unknown_method
#[tracer::traced_node]
fn f(n: u32) -> Result<u32, String> {
    n.missing();
    Ok(n)
}
//# unknown_method_async
#[tracer::traced_node]
async fn f(text: &str) -> Result<u32, String> {
    text.missing().await
}
//# wrong_argument
#[tracer::traced_node]
fn f(n: u32) -> Option<u32> {
    f("text")
}
//# type_annotations_needed
#[tracer::traced_node]
fn f() -> Result<u32, String> {
    let all = "1".chars().collect();
    Ok(1)
}
//# missing_bound
#[tracer::traced_node]
fn f<T>(value: T) -> Option<String> {
    Some(value.to_string())
}
//# missing_bound_async
#[tracer::traced_node]
async fn f<T>(value: T) -> Option<T> {
    Some(value.clone())
}
//# not_a_future
#[tracer::traced_node]
async fn f(n: u32) -> u32 {
    n.await
}
//# await_in_sync: the label is at `fn` and not at all of the function
#[tracer::traced_node]
fn f(n: std::future::Ready<u32>) -> Option<u32> {
    Some(n.await)
}
//# match_arms
#[tracer::traced_node]
fn f(n: u32) -> Option<u32> {
    match n {
        0 => Some(1),
        _ => "text",
    }
}
//# if_without_else: the branch has a label, and the return type none
#[tracer::traced_node]
fn f(n: u32) -> Result<u32, String> {
    if n == 0 {
        Ok(1)
    }
}
//# impl_return_mismatch
#[tracer::traced_node]
fn f(n: u32) -> impl Iterator<Item = u32> {
    n
}
//# wrong_self_field
struct S {
    field: u32,
}
impl S {
    #[tracer::traced_node]
    fn f(self) -> Option<u32> {
        Some(self.filed)
    }
}
//# wrong_self_type
struct S;
impl S {
    #[tracer::traced_node]
    async fn f(&mut self) -> Result<String, u32> {
        Ok(self)
    }
}
