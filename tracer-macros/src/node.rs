//! `#[traced_node]`, from tokens to tokens.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use crate::args::Args;
use crate::container::Attribute;
use crate::diag::Diag;
use crate::item::{Container, Function, Item, words};
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

fn on_function(args: &TokenStream, mut function: Function, diag: &Diag) -> Option<TokenStream> {
    // Its own attribute says more than that of the item around, which did not see it behind a `cfg_attr`.
    let attrs = function.attrs.len();
    function.attrs.retain(|attr| !is_handed_on(attr));
    let is_inside = function.attrs.len() < attrs;
    if let Some(skip) = leaves_out(args) {
        if !skip.is_inside && !is_inside {
            skip.without_effect(diag);
        }
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
    if let Some(skip) = leaves_out(args) {
        if !skip.is_inside {
            skip.without_effect(diag);
        }
        return Some(quote!(#head #body));
    }
    let parsed = Args::parse(args.clone(), diag);
    parsed.check_container(diag);
    let krate = parsed.krate.map_or_else(|| quote!(::tracer), |path| quote!(#path));
    let attribute = Attribute { krate: &krate, args };
    diag.is_empty().then(|| container::push_down(kind, head, body, &attribute))
}

/// `skip` alone.
struct Skip {
    span: Span,
    /// Whether a traced item around has seen it.
    is_inside: bool,
}

impl Skip {
    fn without_effect(&self, diag: &Diag) {
        diag.error_with_help(
            self.span,
            "`skip` leaves this out of a traced `impl`, `trait` or `mod`, and nothing around it is one",
            "take the attribute away: nothing is traced without it; to leave out an argument write `skip(a)`",
        );
    }
}

fn leaves_out(args: &TokenStream) -> Option<Skip> {
    let mut words: Vec<Ident> = Vec::new();
    for token in args.clone() {
        match token {
            TokenTree::Ident(word) => words.push(word),
            TokenTree::Punct(comma) if comma.as_char() == ',' => {}
            _ => return None,
        }
    }
    match words.as_slice() {
        [skip] if skip == "skip" => Some(Skip { span: skip.span(), is_inside: false }),
        [each, skip] if each == "__each" && skip == "skip" => Some(Skip { span: skip.span(), is_inside: true }),
        _ => None,
    }
}

/// Whether an attribute comes from the item around.
fn is_handed_on(attr: &syn::Attribute) -> bool {
    let is_ours = words(attr).last().is_some_and(|word| word == "traced_node");
    is_ours
        && attr.meta.to_token_stream().into_iter().any(|token| match token {
            TokenTree::Group(args) => {
                matches!(args.stream().into_iter().next(), Some(TokenTree::Ident(word)) if word == "__each")
            }
            _ => false,
        })
}
