//! The macros of `tracer`. Documented where they are re-exported.

use proc_macro::TokenStream;

#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn traced_node(args: TokenStream, item: TokenStream) -> TokenStream {
    let _ = args;
    item
}

#[allow(missing_docs)]
#[proc_macro]
pub fn flow(input: TokenStream) -> TokenStream {
    let _ = input;
    TokenStream::new()
}
