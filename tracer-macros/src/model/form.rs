//! Which form the expansion takes: from the signature and the attributes alone, the body is not looked at.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, Meta, ReturnType};

use super::Form;
use crate::item::{Function, words};
use crate::types::{Returned, without_impl};

pub(super) fn form(function: &Function, returned: Returned, judged: bool) -> Form {
    let sig = &function.sig;
    if sig.asyncness.is_some() {
        let output = match &sig.output {
            ReturnType::Type(_, ty) => Some(ty.clone()),
            ReturnType::Default => None,
        };
        return Form::Async { keep: function.attrs.iter().any(is_foreign), output };
    }
    if function.attrs.iter().any(|attr| mentions(attr, "track_caller")) {
        return Form::InPlace;
    }
    let written = match &sig.output {
        ReturnType::Type(_, ty) => (**ty).clone(),
        ReturnType::Default => syn::parse_quote!(()),
    };
    match returned {
        Returned::Never => Form::InPlace,
        Returned::Infallible if !judged => Form::InPlace,
        Returned::Infallible | Returned::Value => Form::Call { output: Box::new(without_impl(written)) },
        Returned::Future(output) => Form::Future { output },
        Returned::BoxedFuture(output) => {
            Form::BoxedFuture { output, returned: Box::new(without_impl(written)), inner: boxed_inner(function) }
        }
    }
}

/// The `X` of a body that is `Box::pin(X)` only: what `#[async_trait]` writes.
fn boxed_inner(function: &Function) -> Option<TokenStream> {
    let tokens: Vec<TokenTree> = function.body.stream().into_iter().collect();
    let (TokenTree::Group(argument), path) = tokens.split_last()? else { return None };
    let words: Vec<String> = path
        .iter()
        .filter_map(|token| match token {
            TokenTree::Ident(word) => Some(word.to_string()),
            _ => None,
        })
        .collect();
    let only_path = path.iter().all(|token| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    });
    let is_box_pin = words.ends_with(&["Box".into(), "pin".into()]);
    (only_path && is_box_pin && argument.delimiter() == Delimiter::Parenthesis && single(&argument.stream()))
        .then(|| argument.stream())
}

fn single(tokens: &TokenStream) -> bool {
    !tokens.is_empty()
        && !tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
}

/// Whether an attribute is a macro of others, which may want to see `async fn`.
fn is_foreign(attr: &Attribute) -> bool {
    const BUILT_IN: [&str; 27] = [
        "allow",
        "warn",
        "deny",
        "forbid",
        "expect",
        "doc",
        "cfg",
        "cfg_attr",
        "inline",
        "cold",
        "must_use",
        "deprecated",
        "track_caller",
        "target_feature",
        "no_mangle",
        "export_name",
        "link_section",
        "unsafe",
        "ignore",
        "should_panic",
        "automatically_derived",
        "non_exhaustive",
        "instruction_set",
        "coverage",
        "optimize",
        "no_coverage",
        "macro_use",
    ];
    let words = words(attr);
    let [first, rest @ ..] = words.as_slice() else { return true };
    if !rest.is_empty() {
        return !["clippy", "rustfmt", "diagnostic", "rustdoc", "miri"].contains(&first.as_str());
    }
    if first == "cfg_attr" {
        // What it adds comes behind the first comma; a word that is not built in may be a macro.
        let Meta::List(list) = &attr.meta else { return true };
        let added: Vec<TokenTree> = list
            .tokens
            .clone()
            .into_iter()
            .skip_while(|token| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
            .collect();
        return added
            .iter()
            .any(|token| matches!(token, TokenTree::Ident(word) if !BUILT_IN.iter().any(|known| word == known)));
    }
    !BUILT_IN.contains(&first.as_str())
}

/// Whether the attribute is `word`, or may become it.
pub(super) fn mentions(attr: &Attribute, word: &str) -> bool {
    if attr.path().is_ident(word) {
        return true;
    }
    let Meta::List(list) = &attr.meta else { return false };
    attr.path().is_ident("cfg_attr")
        && list.tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == word))
}
