//! The types that `flow!` declares, and how a function says that it is one of them.

use crate::flow::FlowNode;

/// A declared node.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a node",
    label = "not declared in a `tracer::flow!`",
    note = "declare it, `tracer::flow! {{ pub my_flow {{ first -> second }} }}`, and write \
            `#[traced_node(my_flow::first)]`",
    note = "or give the name as a string: `#[traced_node(\"first\")]`"
)]
pub trait Node {
    /// Its name and its place in the flow.
    const NODE: NodeInfo;
}

/// What `flow!` says of a node.
pub trait Declared {
    /// Its name and its place in the flow.
    const NODE: NodeInfo;
}

#[diagnostic::do_not_recommend]
impl<N: Declared> Node for N {
    const NODE: NodeInfo = <N as Declared>::NODE;
}

/// A declared node that a function is.
#[diagnostic::on_unimplemented(
    message = "node `{Self}` is declared, but no function in this crate is it",
    label = "no `#[traced_node(..::{Self})]` in this crate",
    note = "write that function, take `{Self}` out of the flow, or declare the flow `partial` while you work"
)]
pub trait Claimed {
    /// Asked for where the node is declared.
    const BY_ONE_FUNCTION: () = ();
}

#[diagnostic::do_not_recommend]
impl<N: OneFunctionPerNode> Claimed for N {}

/// What [`Node`] says.
#[derive(Debug, Clone, Copy)]
pub struct NodeInfo {
    /// The name.
    pub name: &'static str,
    /// The place in the flow.
    pub place: FlowNode,
}

/// The claim of a function to be this node: two claims are two implementations, which the compiler refuses.
pub trait OneFunctionPerNode {}

/// A node that `flow!` declares `shared`.
#[diagnostic::on_unimplemented(
    message = "node `{Self}` belongs to one function",
    label = "not declared `shared`",
    note = "declare it `shared {Self};` in its flow, or leave `shared` out here"
)]
pub trait SharedNode {
    /// Asked for where a function says so.
    const IS: () = ();
}

/// A node of a flow that is declared `open`.
#[diagnostic::on_unimplemented(
    message = "the flow of node `{Self}` is closed to other crates",
    label = "declared in a closed flow",
    note = "declare the flow `open` in its crate, or leave `extern` out if it is of this crate"
)]
pub trait OpenNode {
    /// Asked for where a function says so.
    const IS: () = ();
}
