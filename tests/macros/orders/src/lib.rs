//! Declares a flow, and is one of its nodes: the others are functions of the crates that use it.

use tracer::traced_node;

tracer::flow! {
    /// What becomes of an order.
    pub open orders {
        accept -> price -> ship;
    }
}

/// The node that is a function here.
#[traced_node(orders::accept)]
pub fn accept(pieces: u32) -> Option<u32> {
    (pieces > 0).then_some(pieces)
}
