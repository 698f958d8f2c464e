//! `#[traced_node]` on an `impl`, `trait` or `mod`: hands the attribute on to the functions inside.
//!
//! What is left out is told that it stands in a traced item, where that means something. The functions are not expanded here. Attribute macros of the item itself (`#[async_trait]`) come next and see what
//! the user wrote; the functions' attributes come last.

use proc_macro2::{Delimiter, Group, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};

use crate::item::Container;

/// The attribute to hand on.
pub(crate) struct Attribute<'a> {
    /// Its path, up to `traced_node`.
    pub(crate) krate: &'a TokenStream,
    pub(crate) args: &'a TokenStream,
}

/// Hands the attribute on.
pub(crate) fn push_down(kind: Container, head: &TokenStream, body: &Group, attribute: &Attribute<'_>) -> TokenStream {
    let mut pushed = Group::new(Delimiter::Brace, items(kind, body.stream(), attribute));
    pushed.set_span(body.span());
    quote!(#head #pushed)
}

/// Goes through the items of a body; only where each begins and what kind it is matters.
fn items(kind: Container, body: TokenStream, attribute: &Attribute<'_>) -> TokenStream {
    let mut output = TokenStream::new();
    let mut item: Vec<TokenTree> = Vec::new();
    for token in body {
        let ends = match &token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !goes_on(&item),
            _ => false,
        };
        item.push(token);
        if ends {
            output.extend(one(kind, std::mem::take(&mut item), attribute));
        }
    }
    output.extend(item);
    output
}

/// Whether braces behind these tokens are not the end of the item: those of `const X: T = { .. };`, `use a::{b, c};`,
/// `impl A<{ N }>`.
fn goes_on(item: &[TokenTree]) -> bool {
    let mut open = 0_usize;
    let mut arrow = false;
    for token in item {
        let TokenTree::Punct(punct) = token else {
            arrow = false;
            continue;
        };
        match punct.as_char() {
            '<' => open += 1,
            '>' if !arrow => open = open.saturating_sub(1),
            _ => {}
        }
        arrow = matches!(punct.as_char(), '-' | '=');
    }
    open > 0 || Head::of(item).is_longer
}

/// What the words of an item's head say.
#[derive(Default)]
struct Head {
    /// Where the item begins behind its attributes.
    start: usize,
    kind: Option<HeadKind>,
    is_const: bool,
    is_longer: bool,
    is_traced: bool,
    /// Where the `[..]` of a `#[traced_node(skip)]` is, and what to write there.
    left_out: Option<(usize, Group)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadKind {
    Function,
    Container(Container),
    Other,
}

impl Head {
    fn of(item: &[TokenTree]) -> Self {
        let mut head = Self::default();
        let mut rest = item;
        while let [TokenTree::Punct(hash), tail @ ..] = rest {
            let tail = match tail {
                [TokenTree::Punct(bang), tail @ ..] if bang.as_char() == '!' => tail,
                tail => tail,
            };
            let [TokenTree::Group(attr), tail @ ..] = tail else { break };
            if hash.as_char() != '#' || attr.delimiter() != Delimiter::Bracket {
                break;
            }
            if let Some(args) = traced_node_args(&attr.stream()) {
                head.is_traced = true;
                if is_leave_out(&args) {
                    head.left_out = Some((item.len() - tail.len() - 1, marked(attr)));
                }
            }
            rest = tail;
        }
        head.start = item.len() - rest.len();
        let mut before: Option<String> = None;
        for token in rest {
            let TokenTree::Ident(word) = token else {
                continue;
            };
            let word = word.to_string();
            head.kind = match word.as_str() {
                "fn" => Some(HeadKind::Function),
                "impl" => Some(HeadKind::Container(Container::Impl)),
                "trait" => Some(HeadKind::Container(Container::Trait)),
                "mod" => Some(HeadKind::Container(Container::Mod)),
                "struct" | "enum" | "union" | "macro_rules" | "macro" => Some(HeadKind::Other),
                "static" | "use" | "type" => {
                    head.is_longer = true;
                    Some(HeadKind::Other)
                }
                _ => None,
            };
            if head.kind.is_some() {
                // `const fn` is left out; the `const` of `const X` has been followed by its name.
                head.is_const = before.as_deref() == Some("const") || head.is_const;
                break;
            }
            if before.as_deref() == Some("const") && !matches!(word.as_str(), "async" | "unsafe" | "extern") {
                head.is_longer = true;
                head.kind = Some(HeadKind::Other);
                break;
            }
            head.is_const |= word == "const";
            before = Some(word);
        }
        head
    }
}

/// What stands in the parentheses of an attribute that is one of ours.
fn traced_node_args(attr: &TokenStream) -> Option<TokenStream> {
    let mut last = None;
    let mut args = TokenStream::new();
    for token in attr.clone() {
        match token {
            TokenTree::Ident(word) => last = Some(word),
            TokenTree::Punct(punct) if punct.as_char() == ':' => {}
            TokenTree::Group(group) => args = group.stream(),
            _ => break,
        }
    }
    last.filter(|word| word == "traced_node").map(|_| args)
}

/// Whether these are the arguments of an attribute that leaves out what it stands on.
fn is_leave_out(args: &TokenStream) -> bool {
    let mut tokens = args.clone().into_iter();
    matches!((tokens.next(), tokens.next()), (Some(TokenTree::Ident(word)), None) if word == "skip")
}

/// The attribute in `[..]` with the mark of what stands in a traced item.
fn marked(attr: &Group) -> Group {
    let mark = |token| match token {
        TokenTree::Group(args) => {
            let skip = args.stream();
            let mut marked = Group::new(Delimiter::Parenthesis, quote!(__each, #skip));
            marked.set_span(args.span());
            marked.into()
        }
        other => other,
    };
    let mut brackets = Group::new(Delimiter::Bracket, attr.stream().into_iter().map(mark).collect());
    brackets.set_span(attr.span());
    brackets
}

fn one(kind: Container, mut item: Vec<TokenTree>, attribute: &Attribute<'_>) -> TokenStream {
    let mut head = Head::of(&item);
    if let Some((at, marked)) = head.left_out.take() {
        item[at] = marked.into();
    }
    let Some(TokenTree::Group(body)) = item.last().cloned() else {
        return item.into_iter().collect();
    };
    let has_body = body.delimiter() == Delimiter::Brace;
    match head.kind {
        Some(HeadKind::Function) if has_body && !head.is_const && !head.is_traced && !is_variadic(&item) => {
            let tokens = attribute.at(item[head.start].span());
            item.splice(head.start..head.start, tokens);
            item.into_iter().collect()
        }
        Some(HeadKind::Container(inner)) if kind == Container::Mod && has_body && !head.is_traced => {
            item.pop();
            let head: TokenStream = item.into_iter().collect();
            push_down(inner, &head, &body, attribute)
        }
        _ => item.into_iter().collect(),
    }
}

fn is_variadic(item: &[TokenTree]) -> bool {
    item.iter().any(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
            tokens.windows(3).any(|three| {
                three.iter().all(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.'))
            })
        }
        _ => false,
    })
}

impl Attribute<'_> {
    fn at(&self, span: Span) -> [TokenTree; 2] {
        let Self { krate, args } = self;
        let span = Span::mixed_site().located_at(span);
        let mut hash = Punct::new('#', Spacing::Alone);
        hash.set_span(span);
        let content = quote_spanned!(span=> #krate::traced_node(__each, #args));
        let mut brackets = Group::new(Delimiter::Bracket, content);
        brackets.set_span(span);
        [hash.into(), brackets.into()]
    }
}
