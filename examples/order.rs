//! How do I test what is called, and in which order?
//!
//! `tests/order.rs` tests this program with `tracer::test::record` and `assert_trace!`.
//! `cargo run -p tracer-examples --example order`, `cargo test -p tracer-examples --test order`

use thiserror::Error;
use tracer::traced_node;

/// Something that may be ordered.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) amount: i64,
    pub(crate) stock: u32,
}

/// Why there is no parcel.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum OrderError {
    #[error("an order of {0}")]
    NoAmount(i64),
    #[error("sold out")]
    SoldOut,
}

#[traced_node]
pub(crate) fn place(order: &Order) -> Result<&'static str, OrderError> {
    validate(order)?;
    // Whoever mails before the goods are reserved promises what may not be there.
    reserve(order)?;
    Ok(confirm().unwrap_or("a confirmation by post"))
}

#[traced_node]
fn validate(order: &Order) -> Result<(), OrderError> {
    if order.amount > 0 { Ok(()) } else { Err(OrderError::NoAmount(order.amount)) }
}

#[traced_node]
fn reserve(order: &Order) -> Result<(), OrderError> {
    if order.stock > 0 { Ok(()) } else { Err(OrderError::SoldOut) }
}

#[traced_node]
fn confirm() -> Result<&'static str, &'static str> {
    Err("the mail server is away")
}

fn main() {
    for order in [Order { amount: 4200, stock: 3 }, Order { amount: 4200, stock: 0 }, Order { amount: 0, stock: 3 }] {
        let seen = tracer::test::record(|| place(&order));
        println!("{:?}\n  {}", seen.output, seen.line());
    }
}

// Ok("a confirmation by post")
//   place > validate, reserve, confirm!(&str)
// Err(SoldOut)
//   place^ > validate, reserve!(OrderError)
// Err(NoAmount(0))
//   place^ > validate!(OrderError)
