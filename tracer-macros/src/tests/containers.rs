//! The attribute on an `impl`, a `trait` and a `mod`.

use expect_test::expect;

use super::check;

#[test]
fn an_impl_hands_the_attribute_on() {
    check(
        r#"err = none"#,
        r#"impl<const N: usize> Shop<{ N + 1 }> { const A: u32 = { 1 }; /// Docs.
 #[inline] fn order(&self) {} const fn id() -> u32 { 1 } #[traced_node(skip)] fn out() {} }"#,
        &expect![[r#"
            impl<const N: usize> Shop<{ N + 1 }> {
                const A: u32 = { 1 };
                /// Docs.
                #[inline]
                #[::tracer::traced_node(__each, err = none)]
                fn order(&self) {}
                const fn id() -> u32 {
                    1
                }
                #[traced_node(__each, skip)]
                fn out() {}
            }
        "#]],
    );
}

#[test]
fn a_mod_hands_the_attribute_on_to_what_is_inside() {
    check(
        "",
        r#"mod shop { use std::{fmt, io}; fn order() {} impl Shop { fn pay() {} } trait Buy { fn buy(); fn bought() {} } struct S { a: u32 } }"#,
        &expect![[r#"
            mod shop {
                use std::{fmt, io};
                #[::tracer::traced_node(__each)]
                fn order() {}
                impl Shop {
                    #[::tracer::traced_node(__each)]
                    fn pay() {}
                }
                trait Buy {
                    fn buy();
                    #[::tracer::traced_node(__each)]
                    fn bought() {}
                }
                struct S {
                    a: u32,
                }
            }
        "#]],
    );
}

#[test]
fn a_function_goes_by_its_own_attribute() {
    check(
        r#""other", off"#,
        r#"#[inline] #[::tracer::traced_node(__each, record)] fn order(a: u32) {}"#,
        &expect![[r#"
            #[inline]
            fn order(a: u32) {}
        "#]],
    );
    check(
        r#"skip"#,
        r#"#[::tracer::traced_node(__each, record)] fn order(a: u32) {}"#,
        &expect![[r#"
            fn order(a: u32) {}
        "#]],
    );
}
