//! Declared nodes.

use tracer::{flow, traced_node};

flow! {
    /// What a webhook goes through.
    pub webhook {
        /// Where it begins.
        handle -> parse -> validate -> send;
        validate !> reject;
        send ~> send;
        shared log;
        entry log -> send;
    }
}

#[traced_node(webhook::handle)]
pub fn handle() -> Result<u32, String> {
    Ok(1)
}

pub struct Parser<T>(T);

impl<T: Clone> Parser<T> {
    #[traced_node(webhook::parse)]
    pub async fn parse(&self) -> Result<T, String> {
        Ok(self.0.clone())
    }
}

use self::webhook::validate;

#[traced_node(validate)]
pub fn validating() {}

#[traced_node(self::webhook::send, record)]
pub fn send(n: u32) -> Option<u32> {
    Some(n)
}

#[traced_node(webhook::reject, off)]
pub fn reject() {}

#[traced_node(webhook::log, shared)]
pub fn log() {}

#[traced_node(webhook::log, shared)]
pub async fn log_too() {}

flow! {
    open names { a; b; r#match; }
    pub(crate) open others { a -> b; }
}

#[traced_node(names::r#match, extern)]
pub fn named() {}

pub fn local() {
    flow! { local { first -> second; } }

    #[traced_node(local::first)]
    fn first() {}

    #[traced_node(local::second)]
    fn second() {}

    first();
    second();
}
