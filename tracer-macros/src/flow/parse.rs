//! The grammar: `[vis] [open] [partial] name { [///] [entry] [shared] a -> b !> c ~> a; .. }`.

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, Path, Token, Visibility};

use crate::diag::{Diag, did_you_mean};

/// Everything in one `flow!`.
pub(crate) struct Input {
    pub(crate) krate: TokenStream,
    pub(crate) flows: Vec<Flow>,
}

/// One flow.
pub(crate) struct Flow {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) open: bool,
    pub(crate) partial: bool,
    pub(crate) name: Ident,
    pub(crate) chains: Vec<Chain>,
}

/// One statement: nodes in a row.
pub(crate) struct Chain {
    /// Of the first node.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) entry: bool,
    pub(crate) shared: bool,
    pub(crate) first: Ident,
    pub(crate) links: Vec<(EdgeKind, Span, Ident)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EdgeKind {
    /// `->`
    Then,
    /// `!>`
    AfterError,
    /// `~>`
    Again,
}

impl EdgeKind {
    pub(crate) const fn arrow(self) -> &'static str {
        match self {
            Self::Then => "->",
            Self::AfterError => "!>",
            Self::Again => "~>",
        }
    }
}

impl Input {
    pub(crate) fn parse(tokens: TokenStream, diag: &Diag) -> Self {
        let mut input = Self { krate: quote!(::tracer), flows: Vec::new() };
        let parser = |stream: ParseStream<'_>| {
            if stream.peek(Token![crate]) && stream.peek2(Token![=]) {
                stream.parse::<Token![crate]>()?;
                stream.parse::<Token![=]>()?;
                let path = stream.call(Path::parse_mod_style)?;
                input.krate = quote!(#path);
                stream.parse::<Token![;]>()?;
            }
            while !stream.is_empty() {
                input.flows.push(flow(stream, diag)?);
            }
            Ok(())
        };
        let _ = diag.ok(parser.parse2(tokens));
        if input.flows.is_empty() && diag.is_empty() {
            diag.error_with_help(
                Span::call_site(),
                "`flow!` declares no flow",
                "write `flow! { pub webhook { parse -> validate -> send; } }`",
            );
        }
        input
    }
}

fn flow(stream: ParseStream<'_>, diag: &Diag) -> syn::Result<Flow> {
    let attrs = stream.call(Attribute::parse_outer)?;
    let vis = stream.parse()?;
    let (mut open, mut partial) = (false, false);
    let mut name = stream.call(ident)?;
    while stream.peek(Ident::peek_any) {
        match name.to_string().as_str() {
            "open" => open = true,
            "partial" => partial = true,
            other => {
                let hint = did_you_mean(other, ["open", "partial"]);
                diag.error_with_help(
                    name.span(),
                    format_args!("a flow is not `{other}`{hint}"),
                    "write `[pub] [open] [partial] name { .. }`",
                );
            }
        }
        name = stream.call(ident)?;
    }
    if !stream.peek(syn::token::Brace) {
        return Err(stream.error("expected the nodes of the flow: `{ parse -> validate -> send; }`"));
    }
    let body;
    syn::braced!(body in stream);
    let mut chains = Vec::new();
    while !body.is_empty() {
        match chain(&body) {
            Ok(chain) => chains.push(chain),
            Err(error) => {
                diag.push(error);
                // One mistake is one error: go on behind the statement.
                while !body.is_empty() && !body.peek(Token![;]) {
                    let _ = body.parse::<TokenTree>();
                }
            }
        }
        while body.parse::<Token![;]>().is_ok() {}
    }
    Ok(Flow { attrs, vis, open, partial, name, chains })
}

fn chain(body: ParseStream<'_>) -> syn::Result<Chain> {
    let attrs = body.call(Attribute::parse_outer)?;
    let (mut entry, mut shared) = (false, false);
    let mut first = body.call(ident)?;
    while body.peek(Ident::peek_any) {
        match first.to_string().as_str() {
            "entry" => entry = true,
            "shared" => shared = true,
            _ => {
                return Err(body.error(format!("expected `->`, `!>`, `~>` or `;` behind `{first}`")));
            }
        }
        first = body.call(ident)?;
    }
    let mut links = Vec::new();
    while !body.is_empty() && !body.peek(Token![;]) {
        let at = body.span();
        let kind = if body.parse::<Token![->]>().is_ok() {
            EdgeKind::Then
        } else if body.peek(Token![!]) && body.peek2(Token![>]) {
            body.parse::<Token![!]>()?;
            body.parse::<Token![>]>()?;
            EdgeKind::AfterError
        } else if body.peek(Token![~]) && body.peek2(Token![>]) {
            body.parse::<Token![~]>()?;
            body.parse::<Token![>]>()?;
            EdgeKind::Again
        } else {
            return Err(wrong_arrow(body));
        };
        if body.is_empty() || body.peek(Token![;]) {
            return Err(syn::Error::new(
                at,
                format!("`{}` leads nowhere\n\nhelp: name the node behind it", kind.arrow()),
            ));
        }
        links.push((kind, at, body.call(ident)?));
    }
    Ok(Chain { attrs, entry, shared, first, links })
}

fn wrong_arrow(body: ParseStream<'_>) -> syn::Error {
    const HELP: &str = "help: `->` then, `!>` after an error, `~>` again, `;` ends the statement";
    let ahead = body.fork();
    let mut found = String::new();
    while let Ok(token) = ahead.parse::<TokenTree>() {
        found += &token.to_string();
        if !matches!(&token, TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint) {
            if matches!(token, TokenTree::Ident(_)) {
                return body.error(format!("expected an arrow or `;` before `{found}`\n\n{HELP}"));
            }
            break;
        }
    }
    body.error(format!("no edge is written `{found}`\n\n{HELP}"))
}

fn ident(stream: ParseStream<'_>) -> syn::Result<Ident> {
    let at = stream.span();
    stream.call(Ident::parse_any).map_err(|_| syn::Error::new(at, "expected the name of a node"))
}
