//! What is read of a function's arguments: values, contexts.

use expect_test::expect;

use super::check;

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
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame
                    .enter_with(
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
                let mut __tracer_frame = other::tracer::__private::OpenFrame::new();
                __tracer_frame
                    .enter_with(
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
