//! A function that is async, or returns a future.

use expect_test::expect;

use super::check;

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
