//! A traced function drops, sends and weighs what the plain one does.
#![allow(clippy::all, reason = "the functions are shapes, not style")]
#![allow(dead_code, dropping_copy_types)]

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static LOG: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Says when it is dropped.
pub struct Loud(&'static str);

impl Drop for Loud {
    fn drop(&mut self) {
        LOG.with(|log| log.borrow_mut().push(self.0));
    }
}

impl Loud {
    fn temporary(&self, name: &'static str) -> Loud {
        let _ = self;
        Loud(name)
    }

    fn number(&self) -> usize {
        self.0.len()
    }
}

fn log(f: impl FnOnce()) -> Vec<&'static str> {
    LOG.with(|log| log.borrow_mut().clear());
    f();
    LOG.with(|log| log.borrow_mut().drain(..).collect())
}

/// Pending once.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

struct Idle;

impl Wake for Idle {
    fn wake(self: Arc<Self>) {}
}

/// Polls that many times at most.
fn poll<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Idle));
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
    }
    None
}

/// The same functions in `plain` and in `traced`.
macro_rules! both {
    ($($item:item)*) => {
        mod plain {
            use super::*;
            pub struct Fields {
                pub first: Loud,
                pub last: Loud,
            }
            $($item)*
        }
        mod traced {
            use super::*;
            pub struct Fields {
                pub first: Loud,
                pub last: Loud,
            }
            $(#[tracer::traced_node] $item)*
        }
    };
}

both! {
    pub fn unit(a: Loud, _: Loud, (b, _): (Loud, Loud), _c: Loud) {
        let _inner = Loud("inner");
        let _ = (&a, &b);
    }

    pub fn value(a: Loud, _: Loud, (b, _): (Loud, Loud), _c: Loud) -> Option<usize> {
        let _inner = Loud("inner");
        Some(b.temporary("temporary").number() + a.number())
    }

    pub fn infallible(a: Loud, (b, _): (Loud, Loud)) -> usize {
        let _inner = Loud("inner");
        b.temporary("temporary").number() + a.number()
    }

    pub fn early(a: Loud, b: Loud) -> Result<usize, Loud> {
        let inner = Loud("inner");
        if a.number() == 1 {
            return Err(inner);
        }
        drop(b);
        Ok(2)
    }

    pub fn many(a: Loud, b: Loud, _: Loud, (d, _): (Loud, Loud), e: Loud, f: Loud, g: Loud, h: Loud, i: Loud) -> Option<usize> {
        let _ = (&a, &b, &d, &e, &f, &g, &h, &i);
        Some(i.temporary("temporary").number())
    }

    pub async fn asynchronous(a: Loud, _: Loud, (b, _): (Loud, Loud), _c: Loud) -> usize {
        let _inner = Loud("inner");
        Yield(false).await;
        b.temporary("temporary").number() + a.number()
    }

    pub async fn moves(a: Loud, b: Loud) -> Result<Loud, Loud> {
        Yield(false).await;
        drop(b);
        Yield(false).await;
        Ok(a)
    }

    pub fn future(a: Loud, (b, _): (Loud, Loud)) -> impl Future<Output = usize> {
        async move {
            Yield(false).await;
            b.number() + a.number()
        }
    }

    pub fn boxed(a: Loud, (b, _): (Loud, Loud)) -> Pin<Box<dyn Future<Output = usize> + Send>> {
        let inner = Loud("inner");
        Box::pin(async move {
            Yield(false).await;
            b.number() + a.number() + inner.number()
        })
    }

    impl Fields {
        pub fn last(self, _b: Loud) -> Option<Loud> {
            let inner = Loud("inner");
            drop(inner);
            Some(self.last)
        }

        pub fn unused(self, _b: Loud) -> Option<usize> {
            Some(1)
        }

        pub async fn async_last(self, _b: Loud) -> Loud {
            Yield(false).await;
            self.last
        }

        pub async fn async_unused(self, _b: Loud) {
            Yield(false).await;
        }
    }
}

macro_rules! assert_same {
    ($module:ident => $run:expr) => {{
        let plain = {
            use plain as $module;
            log(|| drop($run))
        };
        let traced = {
            use traced as $module;
            log(|| drop($run))
        };
        assert!(!plain.is_empty());
        assert_eq!(traced, plain);
    }};
}

const fn pair(a: &'static str, b: &'static str) -> (Loud, Loud) {
    (Loud(a), Loud(b))
}

#[test]
fn a_function_drops_in_the_same_order() {
    assert_same!(m => m::unit(Loud("a"), Loud("_"), pair("b", "b1"), Loud("c")));
    assert_same!(m => m::value(Loud("a"), Loud("_"), pair("b", "b1"), Loud("c")));
    assert_same!(m => m::infallible(Loud("a"), pair("b", "b1")));
    assert_same!(m => m::early(Loud("a"), Loud("b")));
    assert_same!(m => m::early(Loud("aa"), Loud("b")));
    assert_same!(m => m::many(
        Loud("a"), Loud("b"), Loud("c"), pair("d", "d1"), Loud("e"), Loud("f"), Loud("g"), Loud("h"), Loud("i")
    ));
}

#[test]
fn a_method_drops_all_of_self_where_the_plain_one_does() {
    assert_same!(m => m::Fields { first: Loud("first"), last: Loud("last") }.last(Loud("b")));
    assert_same!(m => m::Fields { first: Loud("first"), last: Loud("last") }.unused(Loud("b")));
    for polls in 0..3 {
        assert_same!(m => poll(m::Fields { first: Loud("first"), last: Loud("last") }.async_last(Loud("b")), polls));
        assert_same!(m => poll(m::Fields { first: Loud("first"), last: Loud("last") }.async_unused(Loud("b")), polls));
    }
}

#[test]
fn a_future_drops_in_the_same_order_wherever_it_is_left() {
    for polls in 0..4 {
        assert_same!(m => poll(m::asynchronous(Loud("a"), Loud("_"), pair("b", "b1"), Loud("c")), polls));
        assert_same!(m => poll(m::moves(Loud("a"), Loud("b")), polls));
        assert_same!(m => poll(m::future(Loud("a"), pair("b", "b1")), polls));
        assert_same!(m => poll(m::boxed(Loud("a"), pair("b", "b1")), polls));
    }
}

mod sizes {
    macro_rules! levels {
        ($($attribute:tt)*) => {
            $($attribute)*
            pub async fn one(bytes: [u8; 256]) -> Result<usize, String> {
                std::future::ready(()).await;
                Ok(bytes.len())
            }

            $($attribute)*
            pub async fn two(bytes: [u8; 256]) -> Result<usize, String> {
                one(bytes).await
            }

            $($attribute)*
            pub async fn three(bytes: [u8; 256]) -> Result<usize, String> {
                two(bytes).await
            }
        };
    }

    pub mod plain {
        levels!();
    }

    pub mod traced {
        levels!(#[tracer::traced_node]);
    }
}

#[test]
fn three_levels_with_256_bytes_weigh_at_most_a_third_more() {
    let plain = std::mem::size_of_val(&sizes::plain::three([0; 256]));
    let traced = std::mem::size_of_val(&sizes::traced::three([0; 256]));
    println!("plain {}, traced {}", plain, traced);
    assert!(traced * 10 <= plain * 13, "plain {}, traced {}", plain, traced);
}

#[test]
fn a_future_is_send_where_the_plain_one_is() {
    fn send<T: Send>(_: T) {}
    struct NotSend(std::marker::PhantomData<*const ()>);
    #[tracer::traced_node]
    async fn holds_cell(cell: std::cell::Cell<u32>) -> Result<u32, String> {
        Yield(false).await;
        Ok(cell.get())
    }
    // `async fn` keeps nothing of its result across an await, so this one is `Send` as well.
    #[tracer::traced_node]
    async fn returns_not_send() -> Result<u32, NotSend> {
        Yield(false).await;
        Err(NotSend(std::marker::PhantomData))
    }
    send(holds_cell(std::cell::Cell::new(1)));
    send(returns_not_send());
}

#[test]
fn the_place_of_the_caller_is_that_of_the_caller() {
    let line = line!() + 1;
    let location = tracer_shapes::sync::caller();
    assert_eq!(location.line(), line);
    let location = tracer_shapes::sync::caller_result(1).unwrap();
    assert_eq!(location.file(), file!());
}
