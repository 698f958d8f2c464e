//! The macros of `tracer`. Documented where they are re-exported.

mod args;
mod container;
mod diag;
mod editor;
mod expand;
mod flow;
mod item;
mod model;
mod name;
mod node;
mod pattern;
mod tail;
#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "`UPDATE_EXPECT` writes them")]
mod tests;
mod types;

use proc_macro::TokenStream;

#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn traced_node(args: TokenStream, item: TokenStream) -> TokenStream {
    node::traced_node(&args.into(), &item.into()).into()
}

#[allow(missing_docs)]
#[proc_macro]
pub fn flow(input: TokenStream) -> TokenStream {
    flow::flow(input.into()).into()
}
