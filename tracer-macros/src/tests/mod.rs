//! Golden expansions, one a form. `UPDATE_EXPECT=1 cargo test -p tracer-macros` writes them anew: review the difference
//! like any other code.

mod arguments;
mod containers;
mod flows;
mod functions;
mod futures;
mod mistakes;

use expect_test::Expect;
use proc_macro2::TokenStream;

use crate::{flow, node};

fn pretty(tokens: &TokenStream) -> String {
    // Trait items and methods are shown as free functions; that is what they are parsed as here.
    let file: syn::File = syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("{error} in {tokens}"));
    prettyplease::unparse(&file)
}

fn check(args: &str, item: &str, expected: &Expect) {
    let expanded = node::traced_node(&args.parse().unwrap(), &item.parse().unwrap());
    expected.assert_eq(&pretty(&expanded));
}

fn check_flow(input: &str, expected: &Expect) {
    expected.assert_eq(&pretty(&flow::flow(input.parse().unwrap())));
}
