#![allow(dead_code)]
//# use_after_move: no clone is offered of what a closure has captured
#[tracer::traced_node]
fn f(text: String) -> Option<String> {
    drop(text);
    Some(text)
}
//# use_after_move_async: no clone is offered of what an async block has captured
#[tracer::traced_node]
async fn f(text: String) -> Option<String> {
    drop(text);
    Some(text)
}
//# returns_local
#[tracer::traced_node]
fn f() -> Option<&'static str> {
    let text = String::new();
    Some(&text)
}
//# returns_local_async
#[tracer::traced_node]
async fn f() -> Option<&'static str> {
    let text = String::new();
    Some(&text)
}
//# not_mutable
#[tracer::traced_node]
fn f(list: Vec<u32>) -> Option<u32> {
    list.push(1);
    None
}
//# not_mutable_async
#[tracer::traced_node]
async fn f(list: Vec<u32>) -> Option<u32> {
    list.push(1);
    None
}
//# behind_reference: `self` is seen as a capture of the closure
struct S(u32);
impl S {
    #[tracer::traced_node]
    fn f(&self) -> Option<u32> {
        self.0 = 1;
        None
    }
}
//# wrong_lifetime
#[tracer::traced_node]
fn f<'a>(a: &'a str, b: &str) -> Option<&'a str> {
    let _ = a;
    Some(b)
}
//# wrong_lifetime_async
#[tracer::traced_node]
async fn f<'a>(a: &'a str, b: &str) -> Option<&'a str> {
    let _ = a;
    Some(b)
}
//# two_lifetimes
#[tracer::traced_node]
fn f<'a, 'b>(a: &'a str, b: &'b str) -> Option<&'a str> {
    let _ = a;
    Some(b)
}
//# two_mutable_borrows
#[tracer::traced_node]
fn f(list: &mut Vec<u32>) -> Option<u32> {
    let a = &mut *list;
    let b = &mut *list;
    a.push(1);
    b.pop()
}
//# moved_out_of_borrow: `self` is seen as a capture of the closure
struct S(String);
impl S {
    #[tracer::traced_node]
    async fn f(&self) -> String {
        self.0
    }
}
//# borrowed_too_long: the lifetime has no name inside of the closure
#[tracer::traced_node]
fn f<'a>(out: &mut Vec<&'a str>) -> Option<u32> {
    let text = String::new();
    out.push(&text);
    None
}
//# unsafe_call
unsafe fn g() {}
#[tracer::traced_node]
fn f() -> Option<u32> {
    g();
    None
}
