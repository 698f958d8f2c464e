//! Writes a flow: a module with one unit struct per node, and beside it, where it is not offered as a node, the rest.

use std::fmt::Write;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::check::{Graph, Node};
use super::parse::{EdgeKind, Flow};

pub(crate) fn flow(krate: &TokenStream, flow: &Flow, graph: &Graph, sound: bool) -> TokenStream {
    let Flow { attrs, vis, name, .. } = flow;
    let structs = graph.nodes.iter().enumerate().map(|(index, node)| declared(flow, graph, index, node));
    let module = quote! {
        #(#attrs)*
        #[allow(non_camel_case_types, dead_code, unreachable_pub, clippy::pub_use)]
        #vis mod #name {
            #(#structs)*
        }
    };
    let table = sound.then(|| table(krate, flow, graph));
    // Nodes of a flow with mistakes still are nodes, or each function would report that they are not.
    let nodes = if sound {
        TokenStream::new()
    } else {
        let nodes = graph.nodes.iter().map(|node| {
            let path = path(flow, node);
            let node_name = &node.name;
            quote! {
                impl #krate::__private::Declared for #path {
                    const NODE: #krate::__private::NodeInfo = #krate::__private::NodeInfo {
                        name: #node_name,
                        place: #krate::__private::FlowNode { flow: &__TRACER_FLOW, index: 0 },
                    };
                }
                impl #krate::__private::SharedNode for #path {}
                impl #krate::__private::OpenNode for #path {}
            }
        });
        let flow_name = name.to_string();
        quote! {
            const _: () = {
                static __TRACER_FLOW: #krate::__private::FlowTable = #krate::__private::FlowTable {
                    name: #flow_name, nodes: &[], words: 0, then: &[], after_error: &[], entry: &[],
                };
                #(#nodes)*
            };
        }
    };
    quote!(#module #table #nodes)
}

fn declared(flow: &Flow, graph: &Graph, index: usize, node: &Node) -> TokenStream {
    let at = Span::mixed_site().located_at(node.ident.span());
    let (ident, attrs) = (&node.ident, &node.attrs);
    let doc = doc(flow, graph, index, node);
    quote_spanned!(at=> #(#attrs)* #[doc = #doc] pub struct #ident;)
}

fn doc(flow: &Flow, graph: &Graph, index: usize, node: &Node) -> String {
    let names = |edges: Vec<usize>| -> Vec<String> {
        edges.into_iter().map(|node| format!("`{}`", graph.nodes[node].name)).collect()
    };
    let before: Vec<usize> = graph.edges.iter().filter(|edge| edge.to == index).map(|edge| edge.from).collect();
    let after: Vec<usize> = graph.edges.iter().filter(|edge| edge.from == index).map(|edge| edge.to).collect();
    let mut doc = format!("Node `{}` of flow `{}`.", node.name, flow.name);
    for (word, nodes) in [("Before", before), ("After", after)] {
        if !nodes.is_empty() {
            let _ = write!(doc, " {word} it: {}.", names(nodes).join(", "));
        }
    }
    doc
}

fn path(flow: &Flow, node: &Node) -> TokenStream {
    let at = Span::mixed_site().located_at(node.ident.span());
    let name = &flow.name;
    let mut module = name.clone();
    module.set_span(name.span().located_at(node.ident.span()));
    let ident = &node.ident;
    quote_spanned!(at=> #module::#ident)
}

fn table(krate: &TokenStream, flow: &Flow, graph: &Graph) -> TokenStream {
    let private = quote!(#krate::__private);
    let count = graph.nodes.len();
    let words = count.div_ceil(64);
    let free = graph.edges.is_empty();
    let matrix = |belongs: &dyn Fn(EdgeKind) -> bool| {
        let mut bits = vec![if free { u64::MAX } else { 0 }; count * words];
        for edge in graph.edges.iter().filter(|edge| belongs(edge.kind)) {
            bits[edge.from * words + edge.to / 64] |= 1 << (edge.to % 64);
        }
        bits
    };
    let then = matrix(&|kind| kind != EdgeKind::AfterError);
    // A loop that is meant is most often a retry.
    let after_error = matrix(&|kind| kind != EdgeKind::Then);
    let mut entry = vec![if free { u64::MAX } else { 0 }; words];
    for (index, _) in graph.nodes.iter().enumerate().filter(|(_, node)| node.entry) {
        entry[index / 64] |= 1 << (index % 64);
    }
    let flow_name = syn::ext::IdentExt::unraw(&flow.name).to_string();
    let names = graph.nodes.iter().map(|node| &node.name);
    let nodes = graph.nodes.iter().enumerate().map(|(index, node)| {
        let path = path(flow, node);
        let node_name = &node.name;
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let open = flow.open.then(|| quote!(impl #private::OpenNode for #path {}));
        let shared = node.shared.then(|| quote!(impl #private::SharedNode for #path {}));
        quote! {
            impl #private::Declared for #path {
                const NODE: #private::NodeInfo = #private::NodeInfo {
                    name: #node_name,
                    place: #private::FlowNode { flow: &__TRACER_FLOW, index: #index },
                };
            }
            #open
            #shared
        }
    });
    let claimed = (!flow.open).then(|| {
        let checks = graph.nodes.iter().filter(|node| !node.shared).map(|node| claimed(&private, flow, node));
        quote!(#(#checks)*)
    });
    quote! {
        const _: () = {
            static __TRACER_FLOW: #private::FlowTable = #private::FlowTable {
                name: #flow_name,
                nodes: &[#(#names),*],
                words: #words,
                then: &[#(#then),*],
                after_error: &[#(#after_error),*],
                entry: &[#(#entry),*],
            };
            #(#nodes)*
        };
        #claimed
    }
}

/// Asks for the function that is the node: an error, or in a `partial` flow a warning.
fn claimed(private: &TokenStream, flow: &Flow, node: &Node) -> TokenStream {
    let path = path(flow, node);
    let at = Span::mixed_site().located_at(node.ident.span());
    let written = format!("{}::{}", flow.name, node.name);
    let message = format!("node `{written}` is declared, but no function in this crate is it");
    if flow.partial {
        let unclaimed = Ident::new("unclaimed", at);
        return quote_spanned! {at=>
            const _: () = {
                struct Node<N>(::core::marker::PhantomData<N>);
                #[allow(dead_code)]
                impl<N: #private::OneFunctionPerNode> Node<N> {
                    fn #unclaimed() {}
                }
                trait Missing {
                    #[deprecated(note = #message)]
                    fn #unclaimed() {}
                }
                impl<N> Missing for Node<N> {}
                #[allow(dead_code)]
                fn ask() {
                    Node::<#path>::#unclaimed();
                }
            };
        };
    }
    let private = quote_spanned!(at=> #private);
    quote_spanned!(at=> const _: () = <#path as #private::Claimed>::BY_ONE_FUNCTION;)
}
