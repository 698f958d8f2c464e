//! Async functions, and functions that return futures.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tracer::traced_node;

#[traced_node]
pub async fn unit() {}

#[traced_node]
pub async fn early_return(n: u32) {
    if n == 0 {
        return;
    }
    unit().await;
}

#[traced_node]
pub async fn question_mark(text: &str) -> Result<u32, Box<dyn Error + Send + Sync>> {
    let n: u32 = text.parse()?;
    unit().await;
    if n == 7 {
        Err("seven")?;
    }
    Ok(n)
}

#[traced_node]
pub async fn infers_error(text: &str) -> Result<u32, String> {
    let n = text.len() as u32;
    Err(text)?;
    Ok(n)
}

#[traced_node]
pub async fn coercion(n: u32) -> Box<dyn Fn() -> u32 + Send> {
    if n == 1 {
        return Box::new(move || n);
    }
    Box::new(move || n + 1)
}

#[traced_node]
pub async fn impl_return(n: u32) -> impl Iterator<Item = u32> {
    0..n
}

#[traced_node]
pub async fn impl_in_result(n: u32) -> Result<impl Iterator<Item = u32>, String> {
    if n == 0 {
        return Err(String::new());
    }
    Ok(0..n)
}

#[traced_node]
pub async fn callback<F, Fut>(f: F) -> Result<u32, String>
where
    F: FnOnce(u32) -> Fut,
    Fut: Future<Output = Result<u32, String>>,
{
    f(1).await
}

#[traced_node]
pub async fn impl_callback(f: impl Fn(&str) -> u32, text: &str) -> u32 {
    f(text)
}

#[traced_node]
pub async fn patterns(
    (a, mut b): (u32, u32),
    [c, ..]: [u32; 2],
    _: String,
    _unused: String,
    ref d: String,
    &e: &u32,
) -> Option<u32> {
    b += a;
    Some(b + c + e + d.len() as u32)
}

#[traced_node]
pub async fn mutable(mut a: Vec<u8>) -> Vec<u8> {
    a.push(1);
    a
}

#[traced_node]
pub fn boxed_recursion(n: u64) -> Pin<Box<dyn Future<Output = Result<u64, String>> + Send>> {
    Box::pin(async move { if n == 0 { Ok(1) } else { Ok(n * boxed_recursion(n - 1).await?) } })
}

#[traced_node]
pub async fn recursion(n: u64) -> Result<u64, String> {
    if n == 0 {
        return Ok(1);
    }
    Ok(n * Box::pin(recursion(n - 1)).await?)
}

#[traced_node]
pub async unsafe fn dangerous(p: *const u32) -> Result<u32, ()> {
    Ok(unsafe { *p })
}

#[traced_node]
pub async fn never(n: u32) -> ! {
    panic!("{}", n)
}

#[traced_node]
pub async fn loops() -> ! {
    loop {
        unit().await;
    }
}

#[traced_node]
pub async fn always_fails() -> Result<u32, String> {
    panic!("always")
}

#[traced_node]
pub async fn to_do() {
    todo!()
}

#[traced_node]
pub async fn send_not_sync(cell: Cell<u32>, f: Box<dyn FnOnce() + Send>) -> u32 {
    unit().await;
    f();
    cell.get()
}

#[traced_node]
pub async fn two_lifetimes<'a, 'b>(a: &'a str, b: &'b str) -> (&'a str, &'b str) {
    unit().await;
    (a, b)
}

#[traced_node]
pub async fn elided(a: &mut Vec<u8>) -> Option<&mut u8> {
    a.first_mut()
}

#[traced_node]
pub async fn two_elided(a: &str, b: &mut String) -> usize {
    b.push_str(a);
    b.len()
}

#[traced_node]
pub fn returns_future(n: u32) -> impl Future<Output = Result<u32, String>> + Send {
    let m = n + 1;
    async move { Ok(m) }
}

#[traced_node]
pub fn returns_future_borrowing<'a>(text: &'a str) -> impl Future<Output = usize> + 'a {
    async move { text.len() }
}

#[traced_node]
pub fn returns_future_pattern((a, b): (u32, u32)) -> impl std::future::Future<Output = Result<u32, String>> {
    std::future::ready(Ok(a + b))
}

#[traced_node]
pub fn returns_clone_future(n: u32) -> impl Future<Output = u32> + Clone {
    std::future::ready(n).clone_it()
}

pub trait CloneIt: Sized {
    type Cloned: Clone;
    fn clone_it(self) -> Self::Cloned;
}

#[derive(Clone)]
pub struct Ready(u32);

impl Future for Ready {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<u32> {
        std::task::Poll::Ready(self.0)
    }
}

impl CloneIt for std::future::Ready<u32> {
    type Cloned = Ready;

    fn clone_it(self) -> Ready {
        Ready(self.into_inner())
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[traced_node]
pub fn boxed_alias<'a>(text: &'a str, other: &'a str) -> BoxFuture<'a, Result<usize, String>> {
    let length = text.len() + other.len();
    Box::pin(async move { Ok(length) })
}

#[traced_node]
pub async fn temporaries(shared: Arc<Mutex<Vec<u8>>>) -> Option<u8> {
    shared.lock().unwrap().pop()
}

#[traced_node]
pub async fn conditional(#[cfg(any())] missing: Missing, #[cfg(all())] present: u32) -> Result<u32, String> {
    Ok(present)
}

#[traced_node]
pub async fn argument_attributes(#[allow(unused_variables)] a: u32) {}

#[traced_node]
pub async fn inner_attributes() -> u32 {
    #![allow(unused_variables)]
    let unused = 1;
    2
}

/// Keeps `async fn` for the macro below.
#[traced_node]
#[tokio::main(flavor = "current_thread")]
pub async fn main_below() -> Result<u32, String> {
    unit().await;
    Ok(1)
}

#[tokio::main(flavor = "current_thread")]
#[traced_node]
pub async fn main_above() -> Result<u32, String> {
    unit().await;
    Ok(1)
}

#[traced_node]
#[allow(clippy::unused_async)]
#[inline]
#[must_use]
pub async fn decorated() -> u32 {
    1
}

#[traced_node]
#[rustfmt::skip]
pub async fn one_line(n: u32) -> u32 { n }

#[traced_node]
pub async fn try_block_like() -> Result<Vec<u32>, String> {
    let all: Result<Vec<u32>, std::num::ParseIntError> = async { Ok(vec!["1".parse()?]) }.await;
    all.map_err(|error| error.to_string())
}

#[traced_node]
pub async fn reassigned(mut text: &str) -> Result<usize, ()> {
    let local = String::from("x");
    text = if text.is_empty() { &local } else { text };
    Ok(text.len())
}
