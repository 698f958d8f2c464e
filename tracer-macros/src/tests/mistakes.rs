//! What comes back beside a mistake.

use expect_test::expect;

use super::check;

#[test]
fn a_mistake_leaves_the_function_as_it_is() {
    check(
        r#""Parse", recrod"#,
        r#"fn parse() {}"#,
        &expect![[r#"
            ::core::compile_error! {
                "node name `Parse` starts with `P`: it must start with a lowercase letter (a-z)\n\nhelp: write `parse`"
            }
            ::core::compile_error! {
                "unknown option `recrod`; did you mean `record`?\n\nhelp: the options are `root`, `source`, `ctx`, `fork`, `off`, `record`, `skip`, `redact`, `entry`, `effect`, `checkpoint`, `err`, `fail_if`, `crate`, `shared`, `extern`"
            }
            fn parse() {}
        "#]],
    );
}

#[test]
fn beside_a_mistake_editors_find_the_words_of_the_attribute() {
    check(
        r#"webhook::parse, recrod, record(order, ret), redact(order.card), ctx = ctx"#,
        r#"fn parse(order: Order, ctx: &Context) -> u32 { #![allow(unused)] //! Documented.
        1 }"#,
        &expect![[r#"
            ::core::compile_error! {
                "unknown option `recrod`; did you mean `record`?\n\nhelp: the options are `root`, `source`, `ctx`, `fork`, `off`, `record`, `skip`, `redact`, `entry`, `effect`, `checkpoint`, `err`, `fail_if`, `crate`, `shared`, `extern`"
            }
            fn parse(order: Order, ctx: &Context) -> u32 {
                #![allow(unused)]
                //! Documented.
                #[allow(unexpected_cfgs)]
                {
                    #[cfg(rust_analyzer)]
                    {
                        type __TracerNode = webhook::parse;
                        let _ = &order;
                        let _ = &order;
                        let _ = &ctx;
                    }
                }
                1
            }
        "#]],
    );
}
