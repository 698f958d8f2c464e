//! Declared flows: the const tables that `flow!` writes, and the one rule checked at run time.
//!
//! An edge joins two consecutive steps of an env: `a -> b` allows the enter of `b` right after the enter or the
//! exit of `a`, `a !> b` right after the error of `a`. Steps of nodes outside the flow do not count.

/// A flow as `flow!` declared it. At most 64 × `words` nodes, row-major bit matrices.
#[derive(Debug)]
pub struct FlowTable {
    /// The name of the module.
    pub name: &'static str,
    /// Node names in the order of their first mention.
    pub nodes: &'static [&'static str],
    /// `u64` words in one row of a matrix.
    pub words: usize,
    /// `then[a * words + b / 64] >> (b % 64) & 1`: the edge `a -> b` (or `a ~> b`).
    pub then: &'static [u64],
    /// The edges `a !> b`, likewise.
    pub after_error: &'static [u64],
    /// One row: the nodes that may come first.
    pub entry: &'static [u64],
}

/// A node of a flow: the table and the row.
#[derive(Debug, Clone, Copy)]
pub struct FlowNode {
    /// The flow.
    pub flow: &'static FlowTable,
    /// The index in [`FlowTable::nodes`].
    pub index: u16,
}
