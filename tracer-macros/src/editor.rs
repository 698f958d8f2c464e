//! What editors see of an attribute with mistakes in it, which is most of the time that somebody writes one.
//!
//! An editor completes, explains and renames only what it finds in the expansion, so the words of the attribute stay in
//! the function, as types and values, under a condition that holds in rust-analyzer and nowhere else.

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::Ident;

use crate::args::{Args, Name};
use crate::diag::Diag;
use crate::item::{Function, Item};

/// The item, with the words of the attribute in its body if it is a function.
pub(crate) fn keep(args: &TokenStream, item: &TokenStream) -> TokenStream {
    // What is wrong has been reported.
    let diag = Diag::default();
    let Some(Item::Function(function)) = Item::parse(item.clone(), &diag) else { return item.clone() };
    let words = words(&Args::parse(args.clone(), &diag));
    if words.is_empty() {
        return item.clone();
    }
    let Function { attrs, qualifiers, sig, inner_attrs, body } = *function;
    let content = body.stream();
    let mut with_words = Group::new(body.delimiter(), quote!(#inner_attrs #words #content));
    with_words.set_span(body.span());
    quote!(#(#attrs)* #qualifiers #sig #with_words)
}

fn words(args: &Args) -> TokenStream {
    let node = match &args.name {
        Some(Name::Declared(path)) => quote!(type __TracerNode = #path;),
        _ => TokenStream::new(),
    };
    let recorded = args.record.iter().filter_map(|record| record.only.as_ref()).flatten();
    let redacted = args.redact.iter().map(|redacted| &redacted.first);
    // `ret` is no variable, and `self` needs no help.
    let is_variable = |word: &&Ident| *word != "ret" && *word != "self";
    let variables = recorded.chain(&args.skip).chain(redacted).chain(&args.ctx).filter(is_variable);
    let test = args.fail_if.iter().map(|(_, test)| test);
    let words = quote!(#node #(let _ = &#variables;)* #(let _ = #test;)*);
    if words.is_empty() {
        return words;
    }
    // The compiler knows no condition of this name, and need not say so.
    quote! {
        #[allow(unexpected_cfgs)]
        {
            #[cfg(rust_analyzer)]
            {
                #words
            }
        }
    }
}
