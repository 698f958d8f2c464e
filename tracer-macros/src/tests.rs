//! Golden expansions, one a form. `UPDATE_EXPECT=1 cargo test -p tracer-macros` writes them anew: review the difference
//! like any other code.

use expect_test::{Expect, expect};
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

#[test]
fn a_function_without_a_value_stays_where_it_is() {
    check(
        "",
        r#"pub fn parse(text: &str) { println!("{text}"); }"#,
        &expect![[r#"
            pub fn parse(text: &str) {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "parse",
                    886795330685173132u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame.enter(&__TRACER_SITE);
                match () {
                    () => {
                        println!("{text}");
                    }
                }
            }
        "#]],
    );
}

#[test]
fn a_fallible_function_is_a_closure_called_once() {
    check(
        "",
        r#"pub fn parse(mut text: String, (a, _): (u32, u32)) -> Result<u32, Error> { text.push('x'); Ok(a) }"#,
        &expect![[r##"
            #[cfg(doc)]
            pub fn parse(mut text: String, (a, _): (u32, u32)) -> Result<u32, Error> {
                loop {}
            }
            #[cfg(not(doc))]
            pub fn parse(text: String, __arg1: (u32, u32)) -> Result<u32, Error> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "parse",
                    886795330685173132u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame.enter(&__TRACER_SITE);
                let __tracer_result = ::tracer::__private::call2(
                    text,
                    __arg1,
                    move |mut text, (a, _)| -> Result<u32, Error> {
                        text.push('x');
                        Ok(a)
                    },
                );
                let __tracer_outcome = {
                    use ::tracer::__private::Judge as _;
                    (&&&&&&::tracer::__private::Probe(&__tracer_result)).__tracer_outcome()
                };
                __tracer_frame.end(__tracer_outcome);
                __tracer_result
            }
        "##]],
    );
}

#[test]
fn a_method_that_takes_self_captures_all_of_it() {
    check(
        "",
        r#"fn finish(self) -> Option<u32> { Some(self.count) }"#,
        &expect![[r#"
            fn finish(self) -> Option<u32> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "finish",
                    7572703519834456306u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame.enter(&__TRACER_SITE);
                let __tracer_result = ::tracer::__private::call0(move || -> Option<u32> {
                    let _ = &self;
                    Some(self.count)
                });
                let __tracer_outcome = {
                    use ::tracer::__private::Judge as _;
                    (&&&&&&::tracer::__private::Probe(&__tracer_result)).__tracer_outcome()
                };
                __tracer_frame.end(__tracer_outcome);
                __tracer_result
            }
        "#]],
    );
}

#[test]
fn a_checkpoint_is_kept_inside_of_its_frame() {
    check(
        "\"charge-card\", checkpoint = at_most_once",
        r#"async fn charge(&self, amount: u64) -> Result<Receipt, Error> { self.post(amount).await }"#,
        &expect![[r##"
            #[cfg(doc)]
            async fn charge(&self, amount: u64) -> Result<Receipt, Error> {
                loop {}
            }
            #[cfg(not(doc))]
            fn charge(
                &self,
                amount: u64,
            ) -> impl ::core::future::Future<Output = Result<Receipt, Error>> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "charge-card",
                    12865004081828895722u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::traced(
                    &__TRACER_SITE,
                    ::core::option::Option::None,
                    ::tracer::__private::Recorded::none(),
                    ::tracer::__private::checkpointed(
                        &__TRACER_SITE,
                        ::tracer::__private::Repeat::AtMostOnce,
                        {
                            #[allow(unused_imports)]
                            use ::tracer::__private::AnyOutput as _;
                            let __tracer_kept = ::tracer::__private::OutputProbe::<
                                Result<Receipt, Error>,
                            >::new()
                                .__tracer_kept();
                            __tracer_kept.codec()
                        },
                        async move {
                            let _ = &self;
                            let amount = amount;
                            if let ::core::option::Option::Some(__tracer_value) = ::core::option::Option::None::<
                                Result<Receipt, Error>,
                            > {
                                return __tracer_value;
                            }
                            match () {
                                () => self.post(amount).await,
                            }
                        },
                    ),
                    |__tracer_result: &Result<Receipt, Error>| {
                        use ::tracer::__private::Judge as _;
                        (&&&&&&::tracer::__private::Probe(__tracer_result)).__tracer_outcome()
                    },
                )
            }
        "##]],
    );
    check(
        "checkpoint",
        r#"fn count() -> Pin<Box<dyn Future<Output = u32> + Send>> { Box::pin(async move { 1 }) }"#,
        &expect![[r#"
            fn count() -> Pin<Box<dyn Future<Output = u32> + Send>> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "count",
                    12818901015042040436u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::Box::pin(
                    ::tracer::__private::traced(
                        &__TRACER_SITE,
                        ::core::option::Option::None,
                        ::tracer::__private::Recorded::none(),
                        ::tracer::__private::checkpointed(
                            &__TRACER_SITE,
                            ::tracer::__private::Repeat::AtLeastOnce,
                            {
                                #[allow(unused_imports)]
                                use ::tracer::__private::AnyOutput as _;
                                let __tracer_kept = ::tracer::__private::OutputProbe::<u32>::new()
                                    .__tracer_kept();
                                __tracer_kept.codec()
                            },
                            async move { 1 },
                        ),
                        |__tracer_result: &u32| {
                            use ::tracer::__private::Judge as _;
                            (&&&&&&::tracer::__private::Probe(__tracer_result)).__tracer_outcome()
                        },
                    ),
                )
            }
        "#]],
    );
}

#[test]
fn an_async_function_returns_the_future_itself() {
    check(
        "",
        r#"pub async fn send(&self, mut body: Vec<u8>, _: Token) -> Result<u32, Error> { body.push(1); self.post(body).await }"#,
        &expect![[r##"
            #[cfg(doc)]
            pub async fn send(&self, mut body: Vec<u8>, _: Token) -> Result<u32, Error> {
                loop {}
            }
            #[cfg(not(doc))]
            pub fn send(
                &self,
                body: Vec<u8>,
                __arg2: Token,
            ) -> impl ::core::future::Future<Output = Result<u32, Error>> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "send",
                    3251584743947114031u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::traced(
                    &__TRACER_SITE,
                    ::core::option::Option::None,
                    ::tracer::__private::Recorded::none(),
                    async move {
                        let _ = &self;
                        let mut body = body;
                        let __arg2 = __arg2;
                        if let ::core::option::Option::Some(__tracer_value) = ::core::option::Option::None::<
                            Result<u32, Error>,
                        > {
                            return __tracer_value;
                        }
                        match () {
                            () => {
                                body.push(1);
                                self.post(body).await
                            }
                        }
                    },
                    |__tracer_result: &Result<u32, Error>| {
                        use ::tracer::__private::Judge as _;
                        (&&&&&&::tracer::__private::Probe(__tracer_result)).__tracer_outcome()
                    },
                )
            }
        "##]],
    );
}

#[test]
fn an_async_function_stays_async_above_another_macro() {
    check(
        "",
        r#"#[tokio::main] async fn main() { run().await; }"#,
        &expect![[r##"
            #[tokio::main]
            async fn main() {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "main",
                    2258945139493307336u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::traced(
                        &__TRACER_SITE,
                        ::core::option::Option::None,
                        ::tracer::__private::Recorded::none(),
                        async move {
                            if let ::core::option::Option::Some(__tracer_value) = ::core::option::Option::None::<
                                (),
                            > {
                                return __tracer_value;
                            }
                            match () {
                                () => {
                                    run().await;
                                }
                            }
                        },
                        |_| ::tracer::__private::Outcome::ok(),
                    )
                    .await
            }
        "##]],
    );
}

#[test]
fn a_function_that_returns_a_future_traces_the_future() {
    check(
        "",
        r#"fn send(n: u32) -> impl Future<Output = Result<u32, Error>> + Send { post(n) }"#,
        &expect![[r#"
            fn send(n: u32) -> impl Future<Output = Result<u32, Error>> + Send {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "send",
                    3251584743947114031u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::traced(
                    &__TRACER_SITE,
                    ::core::option::Option::None,
                    ::tracer::__private::Recorded::none(),
                    ::tracer::__private::call1(n, move |n| -> _ { post(n) }),
                    |__tracer_result: &Result<u32, Error>| {
                        use ::tracer::__private::Judge as _;
                        (&&&&&&::tracer::__private::Probe(__tracer_result)).__tracer_outcome()
                    },
                )
            }
        "#]],
    );
}

#[test]
fn a_boxed_future_is_traced_inside_its_box() {
    check(
        "",
        r#"fn send<'a>(&'a self) -> Pin<Box<dyn Future<Output = u32> + Send + 'a>> { Box::pin(async move { self.n }) }"#,
        &expect![[r#"
            fn send<'a>(&'a self) -> Pin<Box<dyn Future<Output = u32> + Send + 'a>> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "send",
                    3251584743947114031u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::Box::pin(
                    ::tracer::__private::traced(
                        &__TRACER_SITE,
                        ::core::option::Option::None,
                        ::tracer::__private::Recorded::none(),
                        async move { self.n },
                        |__tracer_result: &u32| {
                            use ::tracer::__private::Judge as _;
                            (&&&&&&::tracer::__private::Probe(__tracer_result)).__tracer_outcome()
                        },
                    ),
                )
            }
        "#]],
    );
}

#[test]
fn a_boxed_future_made_otherwise_gets_another_box() {
    check(
        "",
        r#"fn send(n: u32) -> Pin<Box<dyn Future<Output = u32>>> { if n == 0 { return zero(); } Box::pin(async move { n }) }"#,
        &expect![[r#"
            fn send(n: u32) -> Pin<Box<dyn Future<Output = u32>>> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "send",
                    3251584743947114031u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::Box::pin(
                    ::tracer::__private::traced(
                        &__TRACER_SITE,
                        ::core::option::Option::None,
                        ::tracer::__private::Recorded::none(),
                        ::tracer::__private::call1(
                            n,
                            move |n| -> Pin<Box<dyn Future<Output = u32>>> {
                                if n == 0 {
                                    return zero();
                                }
                                Box::pin(async move { n })
                            },
                        ),
                        |__tracer_result: &u32| {
                            use ::tracer::__private::Judge as _;
                            (&&&&&&::tracer::__private::Probe(__tracer_result)).__tracer_outcome()
                        },
                    ),
                )
            }
        "#]],
    );
}

#[test]
fn values_are_recorded_when_asked() {
    check(
        r#""pay", record(order, a, ret), redact(order.card)"#,
        r#"fn pay(order: &Order, (a, b): (u32, u32)) -> Result<Receipt, Error> { charge(order, a + b) }"#,
        &expect![[r##"
            #[cfg(doc)]
            fn pay(order: &Order, (a, b): (u32, u32)) -> Result<Receipt, Error> {
                loop {}
            }
            #[cfg(not(doc))]
            fn pay(order: &Order, __arg1: (u32, u32)) -> Result<Receipt, Error> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                        "pay",
                        8631822795308185129u64,
                        ::core::module_path!(),
                        ::core::file!(),
                        ::core::line!(),
                    )
                    .redact(&["order.card"]);
                let __tracer_frame = ::tracer::__private::enter(
                    &__TRACER_SITE,
                    ::core::option::Option::None,
                    ::tracer::__private::values(
                        &__TRACER_SITE,
                        |__tracer_values| {
                            {
                                ::tracer::__private::RecordArgument::record(
                                    &*order,
                                    "order",
                                    __tracer_values,
                                );
                            }
                            {
                                match &__arg1 {
                                    (a, _) => {
                                        ::tracer::__private::RecordArgument::record(
                                            a,
                                            "a",
                                            __tracer_values,
                                        )
                                    }
                                }
                            }
                        },
                    ),
                );
                let __tracer_result = ::tracer::__private::call2(
                    order,
                    __arg1,
                    move |order, (a, b)| -> Result<Receipt, Error> { charge(order, a + b) },
                );
                let __tracer_outcome = {
                    use ::tracer::__private::Judge as _;
                    (&&&&&&::tracer::__private::Probe(&__tracer_result)).__tracer_outcome()
                }
                    .with_value(
                        ::tracer::__private::values(
                            &__TRACER_SITE,
                            |__tracer_values| {
                                #[allow(unused_imports)]
                                use ::tracer::__private::AnyReturn as _;
                                if let ::core::option::Option::Some(__tracer_value) = ::tracer::__private::ReturnProbe(
                                        &__tracer_result,
                                    )
                                    .__tracer_success()
                                {
                                    ::tracer::__private::RecordReturn::record(
                                        __tracer_value,
                                        __tracer_values,
                                    );
                                }
                            },
                        ),
                    );
                __tracer_frame.end(__tracer_outcome);
                __tracer_result
            }
        "##]],
    );
}

#[test]
fn a_declared_node_is_claimed_in_the_body() {
    check(
        r#"webhook::validate, root, source = "hook""#,
        r#"fn validate() {}"#,
        &expect![[r#"
            fn validate() {
                #[allow(non_local_definitions)]
                impl ::tracer::__private::OneFunctionPerNode for webhook::validate {}
                const __TRACER_NODE: ::tracer::__private::NodeInfo = <webhook::validate as ::tracer::__private::Node>::NODE;
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::new(
                        __TRACER_NODE.name,
                        ::core::module_path!(),
                        ::core::file!(),
                        ::core::line!(),
                    )
                    .in_flow(__TRACER_NODE.place)
                    .root()
                    .source("hook");
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame.enter(&__TRACER_SITE);
                match () {
                    () => {}
                }
            }
        "#]],
    );
}

#[test]
fn fail_if_decides_what_fails() {
    check(
        r#"fail_if = |r| r.is_none(), err = none"#,
        r#"fn find(id: u32) -> Option<u32> { None }"#,
        &expect![[r#"
            fn find(id: u32) -> Option<u32> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "find",
                    12310348208284936474u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame.enter(&__TRACER_SITE);
                let __tracer_result = ::tracer::__private::call1(
                    id,
                    move |id| -> Option<u32> { None },
                );
                let __tracer_outcome = ::tracer::__private::judged(
                    &__tracer_result,
                    ::tracer::__private::fails(&__tracer_result, |r| r.is_none()),
                    || {
                        use ::tracer::__private::JudgeWithoutText as _;
                        (&&::tracer::__private::Probe(&__tracer_result))
                            .__tracer_outcome_without_text()
                    },
                );
                __tracer_frame.end(__tracer_outcome);
                __tracer_result
            }
        "#]],
    );
}

#[test]
fn a_context_says_where() {
    check(
        "",
        r#"async fn handle(ctx: &mut Context, n: u32) -> u32 { n }"#,
        &expect![[r##"
            #[cfg(doc)]
            async fn handle(ctx: &mut Context, n: u32) -> u32 {
                loop {}
            }
            #[cfg(not(doc))]
            fn handle(ctx: &mut Context, n: u32) -> impl ::core::future::Future<Output = u32> {
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::hashed(
                    "handle",
                    12996100709080792371u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                ::tracer::__private::prepare(
                        &__TRACER_SITE,
                        {
                            #[allow(unused_imports)]
                            use ::tracer::__private::NoContext as _;
                            ::tracer::__private::ContextProbe(&ctx).__tracer_context()
                        },
                        ::tracer::__private::Recorded::none(),
                    )
                    .traced(
                        async move {
                            let ctx = ctx;
                            let n = n;
                            if let ::core::option::Option::Some(__tracer_value) = ::core::option::Option::None::<
                                u32,
                            > {
                                return __tracer_value;
                            }
                            match () {
                                () => n,
                            }
                        },
                        |_| ::tracer::__private::Outcome::ok(),
                    )
            }
        "##]],
    );
}

#[test]
fn a_demanded_context_says_where() {
    check(
        r#"ctx = c, crate = other::tracer"#,
        r#"fn handle(c: &tracer::Context) -> Option<u32> { None }"#,
        &expect![[r#"
            fn handle(c: &tracer::Context) -> Option<u32> {
                static __TRACER_SITE: other::tracer::__private::Site = other::tracer::__private::Site::hashed(
                    "handle",
                    12996100709080792371u64,
                    ::core::module_path!(),
                    ::core::file!(),
                    ::core::line!(),
                );
                let __tracer_frame = other::tracer::__private::enter(
                    &__TRACER_SITE,
                    other::tracer::__private::Carries::context(&c),
                    other::tracer::__private::Recorded::none(),
                );
                let __tracer_result = other::tracer::__private::call1(
                    c,
                    move |c| -> Option<u32> { None },
                );
                let __tracer_outcome = {
                    use other::tracer::__private::Judge as _;
                    (&&&&&&other::tracer::__private::Probe(&__tracer_result)).__tracer_outcome()
                };
                __tracer_frame.end(__tracer_outcome);
                __tracer_result
            }
        "#]],
    );
}

#[test]
fn off_is_the_function_itself() {
    check(
        r#""name", off"#,
        r#"fn handle(mut n: u32) -> Option<u32> { n += 1; Some(n) }"#,
        &expect![[r#"
            fn handle(mut n: u32) -> Option<u32> {
                n += 1;
                Some(n)
            }
        "#]],
    );
}

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
                #[traced_node(skip)]
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
fn a_flow_is_a_module_of_nodes_and_a_table() {
    check_flow(
        "/// Docs.\npub webhook { parse -> send; parse !> reject; send ~> send; }",
        &expect![[r#"
            /// Docs.
            #[allow(non_camel_case_types, dead_code, unreachable_pub, clippy::pub_use)]
            pub mod webhook {
                ///Node `parse` of flow `webhook`. After it: `send`, `reject`.
                pub struct parse;
                ///Node `send` of flow `webhook`. Before it: `parse`, `send`. After it: `send`.
                pub struct send;
                ///Node `reject` of flow `webhook`. Before it: `parse`.
                pub struct reject;
            }
            const _: () = {
                static __TRACER_FLOW: ::tracer::__private::FlowTable = ::tracer::__private::FlowTable {
                    name: "webhook",
                    nodes: &["parse", "send", "reject"],
                    words: 1usize,
                    then: &[2u64, 2u64, 0u64],
                    after_error: &[4u64, 2u64, 0u64],
                    entry: &[1u64],
                };
                impl ::tracer::__private::Declared for webhook::parse {
                    const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                        name: "parse",
                        place: ::tracer::__private::FlowNode {
                            flow: &__TRACER_FLOW,
                            index: 0u16,
                        },
                    };
                }
                impl ::tracer::__private::Declared for webhook::send {
                    const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                        name: "send",
                        place: ::tracer::__private::FlowNode {
                            flow: &__TRACER_FLOW,
                            index: 1u16,
                        },
                    };
                }
                impl ::tracer::__private::Declared for webhook::reject {
                    const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                        name: "reject",
                        place: ::tracer::__private::FlowNode {
                            flow: &__TRACER_FLOW,
                            index: 2u16,
                        },
                    };
                }
            };
            const _: () = <webhook::parse as ::tracer::__private::Claimed>::BY_ONE_FUNCTION;
            const _: () = <webhook::send as ::tracer::__private::Claimed>::BY_ONE_FUNCTION;
            const _: () = <webhook::reject as ::tracer::__private::Claimed>::BY_ONE_FUNCTION;
        "#]],
    );
}

#[test]
fn a_partial_flow_warns_of_what_is_missing() {
    check_flow(
        "partial webhook { parse; }",
        &expect![[r##"
        #[allow(non_camel_case_types, dead_code, unreachable_pub, clippy::pub_use)]
        mod webhook {
            ///Node `parse` of flow `webhook`.
            pub struct parse;
        }
        const _: () = {
            static __TRACER_FLOW: ::tracer::__private::FlowTable = ::tracer::__private::FlowTable {
                name: "webhook",
                nodes: &["parse"],
                words: 1usize,
                then: &[18446744073709551615u64],
                after_error: &[18446744073709551615u64],
                entry: &[18446744073709551615u64],
            };
            impl ::tracer::__private::Declared for webhook::parse {
                const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                    name: "parse",
                    place: ::tracer::__private::FlowNode {
                        flow: &__TRACER_FLOW,
                        index: 0u16,
                    },
                };
            }
        };
        const _: () = {
            struct Node<N>(::core::marker::PhantomData<N>);
            #[allow(dead_code)]
            impl<N: ::tracer::__private::OneFunctionPerNode> Node<N> {
                fn unclaimed() {}
            }
            trait Missing {
                #[deprecated(
                    note = "node `webhook::parse` is declared, but no function in this crate is it"
                )]
                fn unclaimed() {}
            }
            impl<N> Missing for Node<N> {}
            #[allow(dead_code)]
            fn ask() {
                Node::<webhook::parse>::unclaimed();
            }
        };
    "##]],
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
