//! Tests of `order.rs`: each has a tracer of its own, so they run side by side.

#[path = "../order.rs"]
#[expect(dead_code, reason = "its `main` is that of the example")]
mod order;

use order::{Order, OrderError, place};
use tracer::assert_trace;
use tracer::test::record;

#[test]
fn goods_are_reserved_before_the_customer_is_told() {
    let seen = record(|| place(&Order { amount: 4200, stock: 3 }));
    assert_eq!(seen.output, Ok("a confirmation by post"));
    assert_trace!(seen, "place > validate, reserve, confirm!");
}

#[test]
fn nobody_is_told_of_what_is_sold_out() {
    let seen = record(|| place(&Order { amount: 4200, stock: 0 }));
    assert_eq!(seen.output, Err(OrderError::SoldOut));
    assert_trace!(seen, "place^ > validate, reserve!(sold out)");
}

#[test]
fn nothing_is_reserved_for_an_order_of_nothing() {
    let seen = record(|| place(&Order { amount: 0, stock: 3 }));
    assert_trace!(seen, "place^ > validate!(OrderError)");
}

#[test]
#[should_panic(expected = "the trace is not the expected one")]
fn another_order_of_calls_fails_the_test() {
    let seen = record(|| place(&Order { amount: 4200, stock: 3 }));
    assert_trace!(seen, "place > reserve, validate, confirm!");
}
