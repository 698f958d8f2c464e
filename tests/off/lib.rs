//! Traced functions, and the same without the attribute.

use tracer::traced_node;

tracer::flow! {
    /// A declared flow costs nothing either.
    pub webhook {
        parse -> check;
    }
}

/// A declared node.
///
/// # Errors
///
/// If `text` is no number.
#[traced_node(webhook::parse, record)]
pub fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
    text.parse()
}

/// Another.
#[traced_node(webhook::check)]
pub fn check(number: u32) -> bool {
    number > 3
}

/// A traced future.
#[traced_node]
pub async fn traced_future(argument: [u8; 256]) -> usize {
    std::future::ready(()).await;
    argument.len()
}

/// The same future.
pub async fn plain_future(argument: [u8; 256]) -> usize {
    std::future::ready(()).await;
    argument.len()
}

/// Methods.
#[derive(Debug)]
pub struct Counter(pub u32);

#[traced_node]
impl Counter {
    /// A traced method.
    pub fn add(&mut self, by: u32) -> &mut Self {
        self.0 += by;
        self
    }
}
