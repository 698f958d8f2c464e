//! Declared flows: the const tables that `flow!` writes, and the one rule checked at run time.
//!
//! An edge joins two consecutive steps of an env: `a -> b` allows the enter of `b` right after the enter or the
//! exit of `a`, `a !> b` right after the error of `a`. Steps of nodes outside the flow do not count.

/// A flow as `flow!` declared it; one without edges allows everything. At most 64 × `words` nodes, row-major bit matrices.
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

/// Where the declared flows stand in an env.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    flows: Vec<Pred>,
    /// The env was left by a thread that could not see how its flows stood: of a flow that is not among these, the
    /// first node is not judged.
    unseen: bool,
}

/// Where one flow stands in an env.
#[derive(Debug, Clone, Copy)]
struct Pred {
    flow: &'static FlowTable,
    index: u16,
    after_error: bool,
}

impl FlowTable {
    fn has(&self, matrix: &[u64], row: u16, column: u16) -> bool {
        let word = usize::from(row) * self.words + usize::from(column) / 64;
        matrix.get(word).is_some_and(|word| word >> (column % 64) & 1 == 1)
    }
}

/// A missing edge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missing {
    /// The row of the node before; `None`: there was none.
    pub(crate) from: Option<u16>,
    /// Whether that node failed, so that only an edge for errors would do.
    after_error: bool,
}

impl Standing {
    /// That of an env which another thread is in.
    pub(crate) const fn unseen() -> Self {
        Self { flows: Vec::new(), unseen: true }
    }

    /// Takes the enter of `node`.
    pub(crate) fn enter(&mut self, node: FlowNode) -> Option<Missing> {
        let flow = node.flow;
        let (missing, allowed) = match self.flows.iter().find(|pred| std::ptr::eq(pred.flow, flow)) {
            None => {
                let missing = Missing { from: None, after_error: false };
                (missing, self.unseen || flow.has(flow.entry, 0, node.index))
            }
            Some(pred) => {
                let matrix = if pred.after_error { flow.after_error } else { flow.then };
                let missing = Missing { from: Some(pred.index), after_error: pred.after_error };
                (missing, flow.has(matrix, pred.index, node.index))
            }
        };
        self.end(node, false);
        (!allowed).then_some(missing)
    }

    /// Takes the exit or error of `node`.
    pub(crate) fn end(&mut self, node: FlowNode, after_error: bool) {
        let here = Pred { flow: node.flow, index: node.index, after_error };
        match self.flows.iter_mut().find(|pred| std::ptr::eq(pred.flow, node.flow)) {
            Some(pred) => *pred = here,
            None => self.flows.push(here),
        }
    }
}

impl FlowNode {
    /// The sentence for a missing edge.
    pub(crate) fn violation(self, missing: Missing) -> String {
        let name = |row: u16| self.flow.nodes.get(usize::from(row)).copied().unwrap_or("?");
        let (flow, to) = (self.flow.name, name(self.index));
        match missing.from.map(name) {
            Some(from) if missing.after_error => format!(
                "flow `{flow}` has no edge `{from}` !> `{to}`, and `{from}` failed: declare it, or do not call `{to}` there"
            ),
            Some(from) => {
                format!("flow `{flow}` has no edge `{from}` -> `{to}`: declare it, or do not call `{to}` there")
            }
            None => format!("flow `{flow}` does not begin with `{to}`: write `entry {to};` if it may"),
        }
    }
}
