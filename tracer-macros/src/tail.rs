//! Where the value of a body is written, as far as tokens tell.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

/// The first and the last place of the tail expression, or of the body if it has none.
pub(crate) fn spans(body: &Group) -> (Span, Span) {
    let tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    let mut start = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => start = index + 1,
            // Behind the braces of a statement begins the next one.
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let goes_on = match tokens.get(index + 1) {
                    Some(TokenTree::Ident(word)) => word == "else" || word == "as",
                    _ => true,
                };
                if !goes_on {
                    start = index + 1;
                }
            }
            _ => {}
        }
    }
    match tokens.get(start..) {
        Some([first, .., last]) => (first.span(), last.span()),
        Some([only]) => (only.span(), only.span()),
        _ => (body.span(), body.span()),
    }
}

/// The tokens, at another place. What they mean stays.
pub(crate) fn located(tokens: TokenStream, at: Span) -> TokenStream {
    let token = |mut token: TokenTree| {
        token.set_span(token.span().located_at(at));
        token
    };
    tokens.into_iter().map(token).collect()
}
