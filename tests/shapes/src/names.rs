//! Names that the user may have taken.
#![allow(non_camel_case_types, non_snake_case)]

pub mod no_prelude {
    #![no_implicit_prelude]

    use ::core::future::Future;

    #[::tracer::traced_node(record(n, ret))]
    pub fn sync(n: u32) -> ::core::result::Result<u32, ::std::string::String> {
        ::core::result::Result::Ok(n)
    }

    #[::tracer::traced_node(record, err = display)]
    pub async fn asynchronous(n: u32, (a, _): (u32, u8)) -> ::core::result::Result<u32, ::std::string::String> {
        ::core::result::Result::Ok(n + a)
    }

    #[::tracer::traced_node]
    pub fn future(n: u32) -> impl Future<Output = u32> {
        async move { n }
    }

    #[::tracer::traced_node]
    pub fn boxed(n: u32) -> ::std::pin::Pin<::std::boxed::Box<dyn Future<Output = u32>>> {
        let n = n;
        ::std::boxed::Box::pin(async move { n })
    }

    #[::tracer::traced_node(fail_if = |r| *r == 1)]
    pub fn context(ctx: &::tracer::Context, n: u32) -> u32 {
        let _ = ctx;
        n
    }

    ::tracer::flow! { pub taken { one -> two; one !> three; } }

    #[::tracer::traced_node(taken::one)]
    pub fn one() {}

    #[::tracer::traced_node(taken::two)]
    pub async fn two() {}

    #[::tracer::traced_node(taken::three)]
    pub fn three() -> ::core::option::Option<()> {
        ::core::option::Option::None
    }
}

pub mod shadowed {
    pub struct Ok;
    pub struct Err;
    pub struct Some;
    pub struct None;
    pub struct Option;
    pub struct Box;
    pub struct Result<T>(pub T);
    pub mod std {}
    pub mod core {}
    pub mod alloc {}
    pub trait Future {}
    pub trait Judge {
        fn outcome(&self) -> u32;
    }
    impl<T> Judge for T {
        fn outcome(&self) -> u32 {
            1
        }
    }
    #[allow(unused_macros)]
    macro_rules! module_path {
        () => {
            compile_error!("not this one")
        };
    }
    #[allow(unused_macros)]
    macro_rules! file {
        () => {
            compile_error!("not this one")
        };
    }

    #[tracer::traced_node(record)]
    pub fn sync(n: u32) -> Result<u32> {
        Result(n)
    }

    #[tracer::traced_node(record(ret))]
    pub async fn asynchronous(n: u32) -> ::std::result::Result<u32, ::std::string::String> {
        ::std::result::Result::Ok(n)
    }

    #[tracer::traced_node]
    pub fn alias(n: u32) -> ::std::option::Option<u32> {
        let _ = Box;
        ::std::option::Option::Some(n)
    }
}

pub mod locals {
    use tracer::traced_node;

    #[traced_node]
    pub fn frame(__tracer_frame: u32, __tracer_result: u32, __arg0: u32, (site, _): (u32, u32)) -> Option<u32> {
        let __tracer_value = __tracer_frame + __tracer_result + __arg0 + site;
        Some(__tracer_value)
    }

    #[traced_node]
    pub async fn values((a, b): (u32, u32), __arg0: u32) -> Option<u32> {
        Some(a + b + __arg0)
    }
}
