//! The item under the attribute: its head parsed, its body left as the user wrote it.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, Signature, Token, Visibility};

use crate::diag::Diag;

/// What the attribute stands on.
pub(crate) enum Item {
    /// A function with a body.
    Function(Box<Function>),
    /// An `impl`, `trait` or `mod` with a body: everything before the braces, and the braces.
    Container { kind: Container, head: TokenStream, body: Group },
}

/// An item with functions inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Impl,
    Trait,
    Mod,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    /// Visibility and `default`, as written.
    pub(crate) qualifiers: TokenStream,
    pub(crate) sig: Signature,
    /// The `#![..]` at the head of the body.
    pub(crate) inner_attrs: TokenStream,
    /// The braces, without the inner attributes.
    pub(crate) body: Group,
}

impl Item {
    /// Reads the item; reports what a node cannot be.
    pub(crate) fn parse(tokens: TokenStream, diag: &Diag) -> Option<Self> {
        let parser = |input: ParseStream<'_>| Ok(parse_item(input, diag));
        parser.parse2(tokens).unwrap_or_else(|error| {
            // Of the two errors, the one of the item's kind tells more.
            if diag.is_empty() {
                diag.push(error);
            }
            None
        })
    }
}

fn parse_item(input: ParseStream<'_>, diag: &Diag) -> Option<Item> {
    let whole = input.fork();
    let attrs = diag.ok(Attribute::parse_outer(input))?;
    let vis: Visibility = diag.ok(input.parse())?;
    let default =
        if input.peek(Token![default]) && !input.peek2(Token![!]) { input.parse::<Ident>().ok() } else { None };
    match Kind::of(&input.fork()) {
        Kind::Function => {
            let sig: Signature = diag.ok(input.parse())?;
            let Some(body) = braces(input) else {
                let _ = input.parse::<TokenStream>();
                diag.error_with_help(
                    sig.ident.span(),
                    "a node needs a body: this only declares a function",
                    "put the attribute on the implementation",
                );
                return None;
            };
            let (inner_attrs, body) = split_inner_attrs(&body);
            let qualifiers = quote::quote!(#vis #default);
            Some(Item::Function(Box::new(Function { attrs, qualifiers, sig, inner_attrs, body })))
        }
        Kind::Container(kind) => {
            let _ = input.parse::<TokenStream>();
            let mut tokens: Vec<TokenTree> = whole.parse::<TokenStream>().ok()?.into_iter().collect();
            if let Some(TokenTree::Group(body)) = tokens.last().cloned().filter(is_braces) {
                tokens.pop();
                return Some(Item::Container { kind, head: tokens.into_iter().collect(), body });
            }
            let span = tokens.first().map_or_else(Span::call_site, TokenTree::span);
            diag.error_with_help(
                span,
                "`#[traced_node]` goes on a module with its functions inside, and these are in another file",
                "put it on the functions there",
            );
            None
        }
        Kind::Other { name, span, help } => {
            let _ = input.parse::<TokenStream>();
            diag.error_with_help(span, format_args!("`#[traced_node]` goes on a function, this is {name}"), help);
            None
        }
    }
}

/// What kind of item follows the visibility.
enum Kind {
    Function,
    Container(Container),
    Other { name: &'static str, span: Span, help: &'static str },
}

impl Kind {
    fn of(input: ParseStream<'_>) -> Self {
        const METHODS: &str = "put it on the functions that work on it";
        const ELSE: &str = "put it on a function, or on an `impl`, `trait` or `mod` with functions inside";
        let start = input.span();
        while !input.is_empty() {
            let span = input.span();
            let other = |name, help| Self::Other { name, span, help };
            let Ok(word) = input.call(<Ident as syn::ext::IdentExt>::parse_any) else {
                // `extern "C" fn` goes on behind the string; `extern "C" { .. }` does not.
                if input.parse::<syn::LitStr>().is_ok() {
                    continue;
                }
                if input.peek(syn::token::Brace) {
                    return Self::Other {
                        name: "a block of foreign items",
                        span: start,
                        help: "trace the functions that call them",
                    };
                }
                break;
            };
            return match word.to_string().as_str() {
                "fn" => Self::Function,
                "impl" => Self::Container(Container::Impl),
                "trait" => Self::Container(Container::Trait),
                "mod" => Self::Container(Container::Mod),
                "struct" => other("a struct", METHODS),
                "enum" => other("an enum", METHODS),
                "union" => other("a union", METHODS),
                "static" => other("a static", ELSE),
                "type" => other("a type alias", ELSE),
                "use" => other("an import", ELSE),
                "macro_rules" | "macro" => other("a macro", "put it on the functions that the macro makes"),
                "const" if !is_function_behind(input) => other("a constant", ELSE),
                "async" | "unsafe" | "safe" | "const" | "auto" | "default" | "gen" | "extern" => {
                    continue;
                }
                _ => other("something else", ELSE),
            };
        }
        Self::Other { name: "something else", span: start, help: ELSE }
    }
}

/// Whether `const` begins a `const fn` and not a constant.
fn is_function_behind(input: ParseStream<'_>) -> bool {
    input.peek(Token![fn]) || input.peek(Token![async]) || input.peek(Token![unsafe]) || input.peek(Token![extern])
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The body, also behind the invisible delimiters of a `$body:block`.
fn braces(input: ParseStream<'_>) -> Option<Group> {
    let TokenTree::Group(mut group) = input.parse().ok()? else { return None };
    while group.delimiter() == Delimiter::None {
        let mut inner = group.stream().into_iter();
        group = match (inner.next(), inner.next()) {
            (Some(TokenTree::Group(group)), None) => group,
            _ => return None,
        };
    }
    (group.delimiter() == Delimiter::Brace).then_some(group)
}

/// Inner attributes have to stay at the head of the function.
fn split_inner_attrs(body: &Group) -> (TokenStream, Group) {
    let mut rest: &[TokenTree] = &body.stream().into_iter().collect::<Vec<_>>();
    let mut attrs = TokenStream::new();
    while let [TokenTree::Punct(hash), TokenTree::Punct(bang), TokenTree::Group(group), after @ ..] = rest {
        if hash.as_char() != '#' || bang.as_char() != '!' || group.delimiter() != Delimiter::Bracket {
            break;
        }
        attrs.extend(rest[..3].iter().cloned());
        rest = after;
    }
    if attrs.is_empty() {
        return (attrs, body.clone());
    }
    let mut group = Group::new(Delimiter::Brace, rest.iter().cloned().collect());
    group.set_span(body.span());
    (attrs, group)
}

/// The parts of an attribute's path, or nothing for a path that is not one of plain words.
pub(crate) fn words(attr: &Attribute) -> Vec<String> {
    attr.path().segments.iter().map(|segment| segment.ident.to_string()).collect()
}
