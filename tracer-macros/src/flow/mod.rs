//! `flow!`: a module with one unit struct per node, and the edges between them.

mod check;
mod expand;
mod parse;

use proc_macro2::TokenStream;

use crate::diag::Diag;

/// Expands the macro. With mistakes, the nodes are declared all the same: what names them still finds them.
pub(crate) fn flow(input: TokenStream) -> TokenStream {
    let diag = Diag::default();
    let input = parse::Input::parse(input, &diag);
    let mut output = TokenStream::new();
    let graphs: Vec<check::Graph> = input.flows.iter().map(|flow| check::Graph::new(flow, &diag)).collect();
    let sound = diag.is_empty();
    for (flow, graph) in input.flows.iter().zip(&graphs) {
        output.extend(expand::flow(&input.krate, flow, graph, sound));
    }
    output.extend(diag.into_tokens());
    output
}
