//! The graph of a flow, and what is wrong with it.

use std::collections::VecDeque;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Attribute, Ident};

use super::parse::{EdgeKind, Flow};
use crate::diag::Diag;
use crate::name;

/// Nodes in the order of their first mention, and the edges between them.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

pub(crate) struct Node {
    /// Its first mention.
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) entry: bool,
    pub(crate) shared: bool,
}

pub(crate) struct Edge {
    pub(crate) kind: EdgeKind,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Where its end is written.
    pub(crate) at: Span,
}

impl Graph {
    pub(crate) fn new(flow: &Flow, diag: &Diag) -> Self {
        let mut graph = Self { nodes: Vec::new(), edges: Vec::new() };
        let mut parsed = true;
        for chain in &flow.chains {
            let mut from = graph.node(&chain.first, diag);
            let node = &mut graph.nodes[from];
            node.attrs.extend(chain.attrs.iter().cloned());
            node.entry |= chain.entry;
            node.shared |= chain.shared;
            for (kind, _, ident) in &chain.links {
                let to = graph.node(ident, diag);
                graph.edge(Edge { kind: *kind, from, to, at: ident.span() }, diag);
                from = to;
            }
        }
        if let Some(first) = graph.nodes.first_mut() {
            first.entry = true;
        } else {
            parsed = false;
            if diag.is_empty() {
                diag.error_with_help(
                    flow.name.span(),
                    format_args!("flow `{}` has no nodes", flow.name),
                    "name them: `parse -> validate -> send;`",
                );
            }
        }
        if parsed {
            graph.check_cycles(diag);
            graph.check_reachable(diag);
        }
        graph
    }

    fn node(&mut self, ident: &Ident, diag: &Diag) -> usize {
        let name = ident.unraw().to_string();
        if let Some(index) = self.nodes.iter().position(|node| node.name == name) {
            return index;
        }
        if let Err(bad) = name::check(&name) {
            bad.report(ident.span(), diag);
        }
        self.nodes.push(Node { ident: ident.clone(), name, attrs: Vec::new(), entry: false, shared: false });
        self.nodes.len() - 1
    }

    fn edge(&mut self, edge: Edge, diag: &Diag) {
        let (from, to) = (&self.nodes[edge.from].name, &self.nodes[edge.to].name);
        if edge.from == edge.to && edge.kind != EdgeKind::Again {
            diag.error_with_help(
                edge.at,
                format_args!("`{from}` leads to itself"),
                format_args!("if it may run again right away (a retry), write `{from} ~> {from}`"),
            );
            return;
        }
        let same = |known: &&Edge| {
            known.from == edge.from
                && known.to == edge.to
                && (known.kind == EdgeKind::AfterError) == (edge.kind == EdgeKind::AfterError)
        };
        if let Some(known) = self.edges.iter().find(same) {
            let message = if known.kind == edge.kind {
                format!("edge `{from} {} {to}` is declared twice", edge.kind.arrow())
            } else {
                format!(
                    "edge `{from} {} {to}` is declared already, as `{from} {} {to}`",
                    edge.kind.arrow(),
                    known.kind.arrow()
                )
            };
            diag.error_with_help(edge.at, message, "keep one of them");
            return;
        }
        self.edges.push(edge);
    }

    /// Each edge is looked at as it is added: the one that closes a cycle is the one to report.
    fn check_cycles(&self, diag: &Diag) {
        let mut sound: Vec<&Edge> = Vec::new();
        for edge in self.edges.iter().filter(|edge| edge.kind != EdgeKind::Again) {
            let Some(path) = self.path(&sound, edge.to, edge.from) else {
                sound.push(edge);
                continue;
            };
            let (from, to) = (&self.nodes[edge.from].name, &self.nodes[edge.to].name);
            let mut cycle: Vec<&str> = path.iter().map(|&node| self.nodes[node].name.as_str()).collect();
            cycle.push(to);
            let arrow = edge.kind.arrow();
            diag.error_with_help(
                edge.at,
                format_args!("`{from} {arrow} {to}` closes a cycle: {}", cycle.join(" -> ")),
                format_args!("if the loop is meant, write it `{from} ~> {to}`"),
            );
        }
    }

    /// A shortest way along `edges`, ends included.
    fn path(&self, edges: &[&Edge], from: usize, to: usize) -> Option<Vec<usize>> {
        let mut before: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            if at == to {
                let mut path = vec![to];
                while let Some(&last) = path.last() {
                    if last == from {
                        break;
                    }
                    path.push(before[last]?);
                }
                path.reverse();
                return Some(path);
            }
            for edge in edges.iter().filter(|edge| edge.from == at) {
                if before[edge.to].is_none() && edge.to != from {
                    before[edge.to] = Some(at);
                    queue.push_back(edge.to);
                }
            }
        }
        None
    }

    /// A flow without any edges names its nodes and orders nothing.
    fn check_reachable(&self, diag: &Diag) {
        if self.edges.is_empty() {
            return;
        }
        let mut reached: Vec<bool> = self.nodes.iter().map(|node| node.entry).collect();
        loop {
            let next = self.edges.iter().find(|edge| reached[edge.from] && !reached[edge.to]);
            let Some(edge) = next else { break };
            reached[edge.to] = true;
        }
        let entries: Vec<String> =
            self.nodes.iter().filter(|node| node.entry).map(|node| format!("`{}`", node.name)).collect();
        for (index, node) in self.nodes.iter().enumerate().filter(|&(index, _)| !reached[index]) {
            // Of an unreachable part only its beginnings are reported.
            let led_to = self.edges.iter().any(|edge| edge.to == index && edge.from != index);
            if led_to && !self.in_island(index) {
                continue;
            }
            diag.error_with_help(
                node.ident.span(),
                format_args!("nothing leads to `{}`: it cannot be reached from {}", node.name, entries.join(", ")),
                format_args!("add an edge to it, or mark it: `entry {};`", node.name),
            );
        }
    }

    /// Whether the node is the first of an unreachable loop, which has no beginning.
    fn in_island(&self, index: usize) -> bool {
        let all: Vec<&Edge> = self.edges.iter().collect();
        let reaches = |from: usize, to: usize| self.path(&all, from, to).is_some();
        (0..self.nodes.len())
            .filter(|&other| other != index && reaches(other, index))
            .all(|other| reaches(index, other) && other > index)
    }
}
