//! Every form of function, every way to end: what is recorded, and that the caller sees what it would see without.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use tracer::test::{record, record_async};
use tracer::{assert_trace, traced_node};

use crate::drive::{ANSWER, Bad, Way, go, go_later, panic_of, poll, poll_once};

#[traced_node("node")]
fn free(way: Way) -> Result<u32, Bad> {
    let answer = go(way)?;
    Ok(answer)
}

#[traced_node("node")]
fn early(way: Way) -> Result<u32, Bad> {
    if way == Way::Fail {
        return Err(Bad);
    }
    go(way)
}

#[traced_node("node")]
fn by_pattern((way, _): (Way, String), mut answer: Option<u32>) -> Result<u32, Bad> {
    answer.get_or_insert(go(way)?);
    Ok(answer.unwrap_or_default())
}

#[traced_node("node")]
fn generic<T, const N: usize>(ways: [T; N], f: impl Fn(T) -> Result<u32, Bad>) -> Result<u32, Bad>
where
    T: Copy + Into<Way>,
{
    f(ways[0])
}

#[traced_node("node")]
fn impl_in_result(way: Way) -> Result<impl Into<u32>, Bad> {
    go(way)
}

mod dangerous {
    #![expect(unsafe_code, reason = "what is tested is functions that are unsafe")]
    use super::*;

    #[traced_node("node")]
    unsafe fn dereference(way: *const Way) -> Result<u32, Bad> {
        // SAFETY: the caller says that it is the address of a living `Way`.
        go(unsafe { *way })
    }

    pub(super) fn function(way: Way) -> Result<u32, Bad> {
        // SAFETY: `way` lives.
        unsafe { dereference(&raw const way) }
    }

    #[traced_node("node")]
    async unsafe fn dereference_async(way: *const Way) -> Result<u32, Bad> {
        // SAFETY: the caller says that it is the address of a living `Way`.
        go_later(unsafe { *way }).await
    }

    pub(super) async fn future(way: Way) -> Result<u32, Bad> {
        // SAFETY: `way` lives until the future is ready.
        unsafe { dereference_async(&raw const way) }.await
    }
}

#[traced_node("node")]
#[expect(improper_ctypes_definitions, reason = "only Rust calls it")]
extern "C-unwind" fn foreign(way: Way) -> Result<u32, Bad> {
    go(way)
}

#[traced_node("node")]
fn inner_attributes(way: Way) -> Result<u32, Bad> {
    #![allow(unused_variables)]
    let unused = 1;
    go(way)
}

mod made_by_a_macro {
    use super::*;

    macro_rules! function {
        ($name:ident($arg:ident: $ty:ty) -> $ret:ty $body:block) => {
            #[traced_node("node")]
            pub(super) fn $name($arg: $ty) -> $ret $body
        };
    }

    function!(made(way: Way) -> Result<u32, Bad> { go(way) });
}

/// Prelude names that mean something else.
mod shadowed {
    #![allow(dead_code, reason = "to be there is their purpose")]
    use crate::drive::{Bad, Way, go};

    struct Ok;
    struct Err;
    struct Some;
    struct Option;
    mod std {}
    mod core {}

    #[::tracer::traced_node("node")]
    pub(super) fn shadowed(way: Way) -> ::std::result::Result<u32, Bad> {
        go(way)
    }

    #[::tracer::traced_node("node")]
    pub(super) async fn shadowed_async(way: Way) -> ::std::result::Result<u32, Bad> {
        crate::drive::go_later(way).await
    }
}

#[derive(Clone)]
struct Shop(u8);

impl Shop {
    #[traced_node("node")]
    fn associated(way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    fn by_ref(&self, way: Way) -> Result<&u8, Bad> {
        go(way).map(|_| &self.0)
    }

    #[traced_node("node")]
    fn by_mut(&mut self, way: Way) -> Result<&mut u8, Bad> {
        go(way)?;
        self.0 += 1;
        Ok(&mut self.0)
    }

    #[traced_node("node")]
    fn by_value(self, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    fn by_mut_value(mut self, way: Way) -> Result<u32, Bad> {
        self.0 += 1;
        go(way).map(|answer| answer + u32::from(self.0) - 2)
    }

    #[traced_node("node")]
    fn boxed(self: Box<Self>, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    fn rc(self: Rc<Self>, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    fn arc_ref(self: &Arc<Self>, way: Way) -> Result<Arc<Self>, Bad> {
        go(way).map(|_| Arc::clone(self))
    }

    #[traced_node("node")]
    fn pinned(self: Pin<&mut Self>, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    async fn async_ref(&self, way: Way) -> Result<&u8, Bad> {
        go_later(way).await.map(|_| &self.0)
    }

    #[traced_node("node")]
    async fn async_mut(&mut self, way: Way) -> Result<u32, Bad> {
        self.0 += 1;
        go_later(way).await
    }

    #[traced_node("node")]
    async fn async_value(self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }

    #[traced_node("node")]
    async fn async_arc(self: Arc<Self>, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }

    #[traced_node("node")]
    async fn async_pinned(self: Pin<&mut Self>, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }
}

trait Sells {
    fn sell(&self, way: Way) -> Result<u32, Bad>;

    #[traced_node("node")]
    fn sell_by_default(&self, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    async fn sell_async(&self, way: Way) -> Result<u32, Bad>;

    #[traced_node("node")]
    async fn sell_async_by_default(&self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }

    fn sell_future(&self, way: Way) -> impl Future<Output = Result<u32, Bad>> + Send;
}

impl Sells for Shop {
    #[traced_node("node")]
    fn sell(&self, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    async fn sell_async(&self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }

    #[traced_node("node")]
    async fn sell_future(&self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }
}

impl Sells for u8 {
    #[traced_node("node")]
    fn sell(&self, way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[traced_node("node")]
    async fn sell_async(&self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }

    #[traced_node("node")]
    fn sell_future(&self, way: Way) -> impl Future<Output = Result<u32, Bad>> + Send {
        go_later(way)
    }
}

#[async_trait]
trait Remote {
    async fn call(&self, way: Way) -> Result<u32, Bad>;

    #[traced_node("node")]
    async fn call_by_default(&self, (way, _): (Way, String)) -> Result<u32, Bad> {
        go_later(way).await
    }
}

#[async_trait]
impl Remote for Shop {
    #[traced_node("node")]
    async fn call(&self, mut way: Way) -> Result<u32, Bad> {
        if way == Way::Wait {
            way = Way::Wait;
        }
        go_later(way).await
    }
}

struct Above;

#[traced_node]
#[async_trait]
impl Remote for Above {
    async fn call(&self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }
}

struct Below;

#[async_trait]
#[traced_node]
impl Remote for Below {
    async fn call(&self, way: Way) -> Result<u32, Bad> {
        go_later(way).await
    }
}

#[traced_node("node")]
async fn free_async(way: Way) -> Result<u32, Bad> {
    let answer = go_later(way).await?;
    Ok(answer)
}

#[traced_node("node")]
async fn borrowing(way: &Way, text: &mut String) -> Result<u32, Bad> {
    text.push('x');
    go_later(*way).await
}

#[traced_node("node")]
fn future(way: Way) -> impl Future<Output = Result<u32, Bad>> + Send {
    let way = std::convert::identity(way);
    async move { go_later(way).await }
}

#[traced_node("node")]
fn boxed(way: Way) -> Pin<Box<dyn Future<Output = Result<u32, Bad>> + Send>> {
    Box::pin(async move { go_later(way).await })
}

#[traced_node("node")]
fn boxed_later<'a>(way: &'a Way) -> Pin<Box<dyn Future<Output = Result<u32, Bad>> + Send + 'a>> {
    let way = *way;
    Box::pin(go_later(way))
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[traced_node("node")]
fn boxed_alias(way: Way) -> BoxFuture<'static, Result<u32, Bad>> {
    Box::pin(go_later(way))
}

#[traced_node("node")]
async fn generic_async<F, Fut>(f: F, way: Way) -> Result<u32, Bad>
where
    F: FnOnce(Way) -> Fut,
    Fut: Future<Output = Result<u32, Bad>>,
{
    f(way).await
}

/// Records one run that ends `way`, and compares what the caller saw.
fn check(name: &str, way: Way, line: &str, run: &dyn Fn(Way) -> Result<u32, Bad>) {
    let recording = record(|| {
        let mut returned = None;
        let panic = panic_of(|| returned = Some(run(way)));
        (returned, panic)
    });
    let (returned, panic) = &recording.output;
    match way {
        Way::Succeed => assert_eq!(*returned, Some(Ok(ANSWER)), "{name}"),
        Way::Fail => assert_eq!(*returned, Some(Err(Bad)), "{name}"),
        Way::Panic => assert_eq!(panic.as_deref(), Some("as told"), "{name}"),
        Way::Wait => unreachable!("checked by `check_future`"),
    }
    assert_eq!(recording.line(), line, "{name}");
    let stats = recording.stats();
    assert_eq!((stats.dropped, stats.active_traces), (0, 0), "{name}");
}

fn check_function(name: &str, node: &str, run: &dyn Fn(Way) -> Result<u32, Bad>) {
    check(name, Way::Succeed, node, run);
    check(name, Way::Fail, &format!("{node}!(Bad)"), run);
    check(name, Way::Panic, &format!("{node}!panic"), run);
}

fn check_future<F: Future<Output = Result<u32, Bad>>>(name: &str, node: &str, make: impl Fn(Way) -> F) {
    check_function(name, node, &|way| poll(make(way), 2).expect("it is pending once"));
    let dropped = record(|| poll(make(Way::Wait), 3));
    assert_eq!(dropped.line(), format!("{node}!cancelled"), "{name}");
    let never_polled = record(|| drop(make(Way::Succeed)));
    assert_eq!(never_polled.records(), [], "{name}");
}

macro_rules! functions {
    ($($name:literal: |$way:ident| $run:expr;)*) => {$(
        check_function($name, "node", &|$way| $run);
    )*};
}

macro_rules! futures {
    ($($name:literal, $node:literal: |$way:ident| $make:expr;)*) => {$(
        check_future($name, $node, |$way| async move { $make.await });
    )*};
}

#[test]
fn a_function_ends_well_with_an_error_or_by_a_panic() {
    let shop = Shop(1);
    functions! {
        "free": |way| free(way);
        "early return": |way| early(way);
        "patterns": |way| by_pattern((way, String::new()), None);
        "generic": |way| generic([way, way], go);
        "impl Trait in Result": |way| impl_in_result(way).map(Into::into);
        "unsafe": |way| dangerous::function(way);
        "extern": |way| foreign(way);
        "inner attributes": |way| inner_attributes(way);
        "macro_rules": |way| made_by_a_macro::made(way);
        "shadowed prelude": |way| shadowed::shadowed(way);
        "associated": |way| Shop::associated(way);
        "&self": |way| shop.by_ref(way).map(|_| ANSWER);
        "&mut self": |way| shop.clone().by_mut(way).map(|_| ANSWER);
        "self": |way| shop.clone().by_value(way);
        "mut self": |way| shop.clone().by_mut_value(way);
        "Box<Self>": |way| Box::new(shop.clone()).boxed(way);
        "Rc<Self>": |way| Rc::new(shop.clone()).rc(way);
        "&Arc<Self>": |way| Arc::new(shop.clone()).arc_ref(way).map(|_| ANSWER);
        "Pin<&mut Self>": |way| pin!(shop.clone()).pinned(way);
        "trait impl": |way| shop.sell(way);
        "trait default": |way| shop.sell_by_default(way);
    }
}

#[test]
fn a_future_ends_in_four_ways_and_is_nothing_unless_polled() {
    futures! {
        "async", "node": |way| free_async(way);
        "async with references", "node": |way| borrowing(&way, &mut String::new());
        "async unsafe", "node": |way| dangerous::future(way);
        "async shadowed prelude", "node": |way| shadowed::shadowed_async(way);
        "-> impl Future", "node": |way| future(way);
        "-> Pin<Box<dyn Future>>", "node": |way| boxed(way);
        "-> Pin<Box<dyn Future>> behind a statement", "node": |way| boxed_later(&way);
        "-> BoxFuture", "node": |way| boxed_alias(way);
        "async generic", "node": |way| generic_async(go_later, way);
        "async &self", "node": |way| async move { Shop(1).async_ref(way).await.map(|_| ANSWER) };
        "async &mut self", "node": |way| async move { Shop(1).async_mut(way).await };
        "async self", "node": |way| Shop(1).async_value(way);
        "async Arc<Self>", "node": |way| Arc::new(Shop(1)).async_arc(way);
        "async Pin<&mut Self>", "node": |way| async move { pin!(Shop(1)).async_pinned(way).await };
        "async in a trait impl", "node": |way| async move { Shop(1).sell_async(way).await };
        "async in a trait", "node": |way| async move { Shop(1).sell_async_by_default(way).await };
        "async for -> impl Future of a trait", "node": |way| async move { Shop(1).sell_future(way).await };
        "-> impl Future in a trait impl", "node": |way| async move { 1_u8.sell_future(way).await };
        "in #[async_trait] impl", "node": |way| async move { Shop(1).call(way).await };
        "in #[async_trait] trait", "node": |way| async move { Shop(1).call_by_default((way, String::new())).await };
        "above #[async_trait]", "call": |way| async move { Above.call(way).await };
        "below #[async_trait]", "call": |way| async move { Below.call(way).await };
    }
}

#[test]
fn a_future_that_a_panic_drops_has_ended_by_the_panic() {
    let recording = record(|| {
        let mut waits = Box::pin(free_async(Way::Wait));
        assert_eq!(poll_once(waits.as_mut()), None);
        panic_of(move || {
            let _dropped_while_unwinding = waits;
            panic!("elsewhere")
        })
    });
    assert_eq!(recording.output.as_deref(), Some("elsewhere"));
    assert_trace!(recording, "node!panic");
}

/// Infallible, by its tokens: nothing is judged, and a panic is still seen.
mod nothing_to_judge {
    use super::*;

    #[traced_node]
    fn unit(way: Way) {
        let _ = go(way);
    }

    #[traced_node]
    fn number(way: Way) -> u32 {
        go(way).unwrap_or_default()
    }

    #[traced_node]
    fn number_or_none(way: Way) -> Option<u32> {
        go(way).ok()
    }

    #[traced_node]
    fn never() -> ! {
        panic!("for ever")
    }

    #[traced_node]
    async fn never_async() -> ! {
        panic!("for ever")
    }

    #[traced_node]
    async fn unit_async(way: Way) {
        let _ = go_later(way).await;
    }

    #[test]
    fn an_error_kept_inside_is_a_success() {
        let recording = record(|| {
            unit(Way::Fail);
            assert_eq!(number(Way::Fail), 0);
            assert_eq!(number_or_none(Way::Fail), None);
            poll(unit_async(Way::Fail), 2).unwrap();
        });
        assert_trace!(recording, "unit, number, number_or_none, unit_async");
    }

    #[test]
    fn a_panic_is_seen() {
        let recording = record(|| {
            panic_of(|| unit(Way::Panic)).unwrap();
            panic_of(|| number(Way::Panic)).unwrap();
            panic_of(|| number_or_none(Way::Panic)).unwrap();
            panic_of(|| -> () { never() }).unwrap();
            panic_of(|| poll(never_async(), 1)).unwrap();
            panic_of(|| poll(unit_async(Way::Panic), 2)).unwrap();
            poll(unit_async(Way::Wait), 2)
        });
        assert_trace!(
            recording,
            "unit!panic, number!panic, number_or_none!panic, never!panic, never_async!panic, unit_async!panic, \
             unit_async!cancelled"
        );
    }
}

/// The body of a `#[track_caller]` function stays where it is, so its value is not seen.
mod with_track_caller {
    use super::*;

    #[traced_node]
    #[track_caller]
    fn fails(way: Way) -> Result<u32, Bad> {
        go(way)
    }

    #[test]
    fn panics_are_seen_and_errors_are_not() {
        let recording = record(|| {
            assert_eq!(fails(Way::Fail), Err(Bad));
            panic_of(|| fails(Way::Panic)).unwrap();
        });
        assert_trace!(recording, "fails, fails!panic");
    }
}

/// `extern "C"` cannot unwind; values are seen.
mod foreign_frames {
    use super::*;

    #[traced_node]
    extern "C" fn callback(number: u32) -> Option<extern "C" fn(u32) -> u32> {
        (number > 0).then_some(called_back)
    }

    #[traced_node]
    extern "C" fn called_back(number: u32) -> u32 {
        number + 1
    }

    #[test]
    fn a_function_with_another_convention_is_traced() {
        let recording = record(|| callback(1).map(|f| f(1)));
        assert_eq!(recording.output, Some(2));
        assert_trace!(recording, "callback, called_back");
    }
}

mod recursion {
    use super::*;

    #[traced_node]
    fn count(n: u32) -> Result<u32, Bad> {
        if n == 0 { Err(Bad) } else { count(n - 1).or(Ok(n)) }
    }

    #[traced_node]
    async fn count_async(n: u32) -> Result<u32, Bad> {
        if n == 0 {
            return Err(Bad);
        }
        Box::pin(count_async(n - 1)).await
    }

    #[test]
    fn each_level_is_a_call_of_the_one_above() {
        let recording = record(|| count(2));
        assert_eq!(recording.output, Ok(1));
        assert_trace!(recording, "count > count > count!(Bad)");

        let recording = record(|| poll(count_async(2), 1));
        assert_trace!(recording, "count_async! > count_async! > count_async!(Bad)");
    }
}

/// Attribute macros that want to see `async fn`.
mod around {
    use super::*;

    #[traced_node]
    #[tokio::main(flavor = "current_thread")]
    async fn main_below(way: Way) -> Result<u32, Bad> {
        tokio::task::yield_now().await;
        free(way)
    }

    #[tokio::main(flavor = "current_thread")]
    #[traced_node]
    async fn main_above(way: Way) -> Result<u32, Bad> {
        tokio::task::yield_now().await;
        free_async(way).await
    }

    #[test]
    fn tokio_main_stands_above_or_below() {
        for way in [Way::Succeed, Way::Fail] {
            let recording = record(|| (main_below(way).ok(), main_above(way).ok()));
            let answer = (way == Way::Succeed).then_some(ANSWER);
            assert_eq!(recording.output, (answer, answer));
            let mark = if way == Way::Fail { ("!", "!(Bad)") } else { ("", "") };
            let pattern = format!("(main_below{0} > node{1}), main_above{0} > node{1}", mark.0, mark.1);
            assert_trace!(recording, &pattern);
        }
    }

    #[traced_node("in-the-test")]
    #[tokio::test]
    async fn tokio_test_below_is_a_trace() {
        tokio::task::yield_now().await;
        assert!(tracer::current_trace_id().is_some());
    }

    #[tokio::test]
    #[traced_node("in-the-test")]
    async fn tokio_test_above_is_a_trace() {
        tokio::task::yield_now().await;
        assert!(tracer::current_trace_id().is_some());
    }
}

#[tokio::test]
async fn on_a_runtime_it_is_the_same() {
    let recording = record_async(async { (free_async(Way::Succeed).await, free_async(Way::Fail).await) }).await;
    assert_eq!(recording.output, (Ok(ANSWER), Err(Bad)));
    assert_trace!(recording, "node, node!(Bad)");
}
