//! A function that returns a value, or nothing.

use expect_test::expect;

use super::check;

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
