//! `#[traced_node]`, from tokens to tokens.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;

use crate::args::Args;
use crate::container::Attribute;
use crate::diag::Diag;
use crate::item::{Container, Function, Item};
use crate::model::{Form, Node};
use crate::{container, editor, expand};

/// Expands the attribute. With mistakes, the item comes back beside them as it is: what uses it still finds it.
pub(crate) fn traced_node(args: &TokenStream, item: &TokenStream) -> TokenStream {
    let diag = Diag::default();
    let expanded = match Item::parse(item.clone(), &diag) {
        Some(Item::Function(function)) => on_function(args, *function, &diag),
        Some(Item::Container { kind, head, body }) => on_container(args, kind, &head, &body, &diag),
        None => None,
    };
    match expanded {
        Some(expanded) if diag.is_empty() => expanded,
        _ => {
            let (errors, item) = (diag.into_tokens(), editor::keep(args, item));
            quote!(#errors #item)
        }
    }
}

fn on_function(args: &TokenStream, function: Function, diag: &Diag) -> Option<TokenStream> {
    let leave_out = is_leave_out(args);
    if leave_out {
        let Function { attrs, qualifiers, sig, inner_attrs, body } = function;
        let content = body.stream();
        return Some(quote!(#(#attrs)* #qualifiers #sig { #inner_attrs #content }));
    }
    let args = Args::parse(args.clone(), diag);
    let mut node = Node::lower(args, function, diag)?;
    if cfg!(feature = "off") {
        node.form = Form::Untouched;
    }
    Some(expand::node(&node))
}

fn on_container(
    args: &TokenStream,
    kind: Container,
    head: &TokenStream,
    body: &Group,
    diag: &Diag,
) -> Option<TokenStream> {
    if is_leave_out(args) {
        return Some(quote!(#head #body));
    }
    let parsed = Args::parse(args.clone(), diag);
    parsed.check_container(diag);
    let krate = parsed.krate.map_or_else(|| quote!(::tracer), |path| quote!(#path));
    let attribute = Attribute { krate: &krate, args };
    diag.is_empty().then(|| container::push_down(kind, head, body, &attribute))
}

fn is_leave_out(args: &TokenStream) -> bool {
    let mut tokens = args.clone().into_iter();
    let first = tokens.next();
    let is_skip = matches!(first, Some(TokenTree::Ident(word)) if word == "skip");
    is_skip && tokens.next().is_none()
}
