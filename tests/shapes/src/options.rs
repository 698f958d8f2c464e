//! The options.

use serde::{Deserialize, Serialize};
use tracer::{Context, traced_node};

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Order {
    pub id: u32,
    pub card: String,
}

pub struct Secret;

#[traced_node("charge-card")]
pub fn named() {}

#[traced_node("root.node", root, source = "cron")]
pub fn root() {}

#[traced_node("fork/node", fork)]
pub async fn fork() {}

#[traced_node("off", off)]
pub fn off(mut n: u32, (a, b): (u32, u32)) -> Result<u32, String> {
    n += a + b;
    Ok(n)
}

#[traced_node("values", record, skip(secret), redact(order.card, text))]
pub fn values(order: &Order, secret: Secret, text: &str, (a, b): (u32, &u32), mut n: u32) -> Result<u32, String> {
    drop(secret);
    n += a + *b;
    Ok(n + order.id + text.len() as u32)
}

#[traced_node(record(order, a, ret))]
pub async fn some_values(order: Order, (a, _): (u32, Secret), secret: Secret) -> Result<Order, Secret> {
    if a == 0 { Err(secret) } else { Ok(order) }
}

/// What the body does not use is recorded all the same.
#[traced_node(record)]
pub fn unused(_order: &Order, (_a, b): (u32, u32), _ctx: &Context) -> u32 {
    b
}

#[traced_node(record, ctx = _line)]
pub async fn unused_line(_line: Context, _n: u32) {}

#[traced_node(record(ret))]
pub fn only_ret() -> u32 {
    1
}

#[traced_node(record(ret))]
pub fn ret_of_alias() -> Result<Order, Secret> {
    Err(Secret)
}

#[traced_node(record(n))]
pub fn conditional(#[cfg(all())] n: u32) {
    let _ = n + 1;
}

impl Order {
    #[traced_node(record(self, ret))]
    pub fn total(&self) -> Option<u32> {
        Some(self.id)
    }

    #[traced_node(record(self))]
    pub fn consume(self) -> Result<(), Secret> {
        Ok(())
    }
}

#[traced_node(record)]
pub fn generic_values<T: Serialize, U>(a: &T, b: impl Serialize, #[cfg(all())] c: u32) -> Option<U> {
    let _ = (a, b, c);
    None
}

#[traced_node(entry)]
pub async fn entry(order: Order, by: &Order, text: &str, ids: &[u32]) -> Result<Order, Secret> {
    let _ = (by, text, ids);
    Ok(order)
}

#[traced_node(effect)]
pub async fn effect(id: u32) -> Result<Order, Secret> {
    Ok(Order { id, card: String::new() })
}

#[traced_node(effect)]
pub fn effect_plain(id: u32) -> u32 {
    id
}

#[traced_node(err = display)]
pub fn err_display() -> Result<u32, String> {
    Ok(1)
}

#[traced_node(err = debug)]
pub async fn err_debug() -> Result<u32, Vec<u8>> {
    Ok(1)
}

#[traced_node(err = none)]
pub fn err_none() -> Result<u32, Secret> {
    Err(Secret)
}

#[traced_node(fail_if = |r| *r > 5)]
pub fn fail_if(n: u32) -> u32 {
    n
}

#[traced_node(fail_if = |r: &Result<u32, String>| matches!(r, Err(text) if text != "not found"), record(ret))]
pub async fn fail_if_async(n: u32) -> Result<u32, String> {
    Ok(n)
}

#[traced_node(fail_if = Option::is_none)]
pub fn fail_if_path(n: u32) -> Option<u32> {
    Some(n)
}

#[traced_node(checkpoint)]
pub async fn checkpoint(numbers: &[u32], Kept(mut kept): Kept) -> Result<Kept, std::num::ParseIntError> {
    kept.push_str(&numbers.len().to_string());
    let _: u32 = kept.parse()?;
    Ok(Kept(kept))
}

#[traced_node(checkpoint = at_most_once, record)]
pub async fn checkpoint_generic<T: serde::Serialize + serde::de::DeserializeOwned>(value: T) -> T {
    value
}

#[traced_node(checkpoint, fail_if = Option::is_none)]
pub fn checkpoint_future(n: u32) -> impl std::future::Future<Output = Option<u32>> + Send {
    async move { Some(n) }
}

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Kept(pub String);

#[async_trait::async_trait]
pub trait Checkpoints {
    #[traced_node(checkpoint)]
    async fn checkpoint_in_a_trait(&self, n: u32) -> Result<u32, String> {
        Ok(n)
    }
}

pub fn checkpoints_are_send(numbers: &[u32]) -> impl Send + '_ {
    checkpoint(numbers, Kept(String::new()))
}

#[traced_node]
pub fn context(ctx: &mut Context, n: u32) -> Result<u32, String> {
    inner_context(ctx);
    Ok(n)
}

#[traced_node]
pub fn inner_context(_ctx: &Context) {}

#[traced_node]
pub fn owned_context(ctx: Context) -> Option<Context> {
    Some(ctx)
}

#[traced_node]
pub async fn async_context(ctx: &mut Context, other: &str) -> Result<u32, String> {
    inner_context(ctx);
    Ok(other.len() as u32)
}

#[traced_node]
pub async fn async_owned(ctx: Context) -> Context {
    ctx
}

#[traced_node]
pub fn foreign_context(context: &mut other::Context, cx: &mut std::task::Context<'_>) -> Option<u32> {
    let _ = cx;
    context.0.checked_add(1)
}

#[traced_node(ctx = c)]
pub fn demanded(c: &mut Context) -> Result<u32, String> {
    inner_context(c);
    Ok(1)
}

#[traced_node(ctx = c, record)]
pub async fn demanded_async(c: &tracer::Context, n: u32) -> Result<u32, String> {
    inner_context(c);
    Ok(n)
}

pub mod other {
    pub struct Context(pub u32);
}
