//! `tracer` by another name. That nothing is looked for under its own name is the test.
#![deny(warnings)]
#![allow(missing_docs)]

use other_name::{Context, flow, traced_node};

flow! {
    crate = other_name;
    pub webhook { parse -> send; parse !> reject; shared log; entry log -> send; }
    partial open unfinished { later; }
}

#[traced_node(webhook::parse, crate = other_name, record, err = display)]
pub fn parse((n, _): (u32, u8)) -> Result<u32, String> {
    Ok(n)
}

#[traced_node(webhook::send, crate = ::other_name, record(n, ret), fail_if = |r| r.is_err())]
pub async fn send(ctx: &mut Context, n: u32) -> Result<u32, String> {
    let _ = ctx;
    Ok(n)
}

#[traced_node(webhook::reject, crate = other_name, effect)]
pub fn reject(n: u32) -> u32 {
    n
}

#[traced_node(webhook::log, crate = other_name, shared)]
pub fn log() {}

#[traced_node(unfinished::later, crate = other_name, extern)]
pub fn later() {}

pub struct Shop;

#[traced_node(crate = other_name)]
impl Shop {
    pub async fn order(&self, n: u32) -> Result<u32, String> {
        Ok(n)
    }
}

#[traced_node(crate = crate::again, entry)]
pub fn entry(n: u32) -> u32 {
    n
}

pub use other_name as again;
