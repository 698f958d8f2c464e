//! Every shape that `tests/shapes` compiles, run: each call is a node that is entered and left, and gives the value
//! that the function's own words say.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tracer::test::record;
use tracer::{assert_trace, create_env};
use tracer_shapes::traits::{AsyncShop, ByHand, LocalRemote, Remote, Shop};
use tracer_shapes::{asynchronous, containers, flows, methods, names, options, sync};

use crate::drive::{panic_of, poll, run};

/// Each call, the trace it makes, and the value it gives.
macro_rules! calls {
    ($($call:expr => $trace:literal, $value:expr;)*) => {$(
        let recording = record(|| $call);
        assert_trace!(recording, $trace);
        assert_eq!(recording.output, $value, "{}", stringify!($call));
    )*};
}

#[test]
fn free_functions() {
    let (mut bytes, mut told) = (vec![1, 2], 0);
    let mut map = std::collections::HashMap::from([(1, "x".to_owned())]);
    let pair = sync::Pair { a: "xy".into(), b: Vec::new() };
    calls! {
        sync::unit() => "unit", ();
        sync::early_return(0) => "early_return", ();
        sync::unit_result(0).is_err() => "unit_result!(zero)", true;
        sync::question_mark("x").is_err() => "question_mark!(invalid digit found in string)", true;
        sync::question_mark("7").is_err() => "question_mark!(seven)", true;
        sync::question_mark("8").ok() => "question_mark", Some(8);
        sync::alias("x").is_err() => "alias!(ParseIntError)", true;
        sync::io_alias().is_ok() => "io_alias", true;
        sync::coercion(1)() => "coercion", 1;
        sync::coercion(2)() => "coercion", 3;
        sync::coercion_in_result(3).map(|text| text.to_string()) => "coercion_in_result", Ok("n".to_owned());
        sync::generic([(1, "a"), (1, "b")]).len() => "generic", 1;
        sync::generic_error(Err::<u8, _>("told")) => "generic_error!(&str)", Err("told");
        sync::generic_return(Err::<u8, _>("kept")) => "generic_return", Err("kept");
        sync::lifetime("a", "b") => "lifetime", Some("a");
        sync::elided(&mut bytes).map(|first| *first += 1) => "elided", Some(());
        sync::reborrow(&mut map, 2) => "reborrow!(2)", Err(2);
        sync::reassigned("") => "reassigned", Ok(1);
        sync::impl_argument([1, 2], |n| n + 1).len() => "impl_argument", 2;
        sync::impl_return(3).count() => "impl_return", 3;
        sync::impl_in_result("").is_err() => "impl_in_result!(String)", true;
        sync::impl_in_result("ab").map(Iterator::count) => "impl_in_result", Ok(2);
        sync::impl_closure(1)(2) => "impl_closure", 3;
        sync::patterns((1, 2), [3, 0, 0, 4], pair, &5, String::new(), "z".into(), 6) => "patterns", Ok(24);
        sync::patterns_unit((String::new(), String::new()), 1, Vec::new()) => "patterns_unit", ();
        sync::mutable(Vec::new(), 1).as_slice() == [2] => "mutable", true;
        panic_of(|| -> () { sync::never(4) }) => "never!panic", Some("4".to_owned());
        panic_of(sync::always_fails) => "always_fails!panic", Some("always".to_owned());
        panic_of(sync::to_do).is_some() => "to_do!panic", true;
        sync::foreign(1) => "foreign", 2;
        sync::foreign_unit(1) => "foreign_unit", ();
        sync::caller().file().ends_with("shapes.rs") => "caller", true;
        sync::caller_result(1).is_ok() => "caller_result", true;
        sync::inner_attributes(1) => "inner_attributes", Ok(1);
        sync::nested(0) => "nested > inner", Ok(1);
        sync::nested_unit() => "nested_unit", ();
        sync::recursion(2) => "recursion > recursion > recursion", Ok(2);
        sync::from_macro(1) => "from_macro", Ok(1);
        sync::from_macro_plain(1) => "from_macro_plain", 1;
        sync::passed_whole((1, 2)) => "passed_whole", Ok(3);
        sync::hygienic_sync(1) => "hygienic_sync", Ok(1);
        run(sync::hygienic_async(1, (2, 3))) => "hygienic_async", Ok(6);
        sync::higher_ranked(&|text| text, "x").is_ok() => "higher_ranked", true;
        sync::returns_higher_ranked()("x") => "returns_higher_ranked", "x";
        sync::argument_attributes(1, 2) => "argument_attributes", Ok(2);
        sync::conditional(1, (2, String::new())) => "conditional", Ok(3);
        sync::many(1, 2, 3, 4, 5, 6, 7, 8, 9, (10, String::new())) => "many", Some(55);
        sync::temporaries(Arc::new(Mutex::new(1)), RefCell::new("xy".into())) => "temporaries", Some(3);
        sync::tail_temporary(Mutex::new(vec![1])) => "tail_temporary", Some(1);
        sync::tail_temporary_plain(Mutex::new(vec![1])) => "tail_temporary_plain", 1;
        sync::many_temporaries(1, 2, 3, 4, 5, 6, 7, 8, Mutex::new(vec![9])) => "many_temporaries", Some(9);
        sync::labels() => "labels", None;
        sync::decorated() => "decorated", Ok(1);
        sync::r#match(2) => "match", Ok(2);
        sync::unbounded_error(sync::Opaque).is_err() => "unbounded_error!(Opaque)", true;
        sync::dyn_argument(&mut |n| told += n, Box::new(0..3)) => "dyn_argument", Ok(());
        sync::debug_generic(1, "x") => "debug_generic", Ok(1);
    }
    assert_eq!((bytes, told), (vec![2, 2], 3));
}

#[test]
fn futures() {
    let shared = Arc::new(Mutex::new(vec![3]));
    let (mut vec, mut text) = (vec![1], String::new());
    calls! {
        run(asynchronous::unit()) => "unit", ();
        run(asynchronous::early_return(0)) => "early_return", ();
        run(asynchronous::early_return(1)) => "early_return > unit", ();
        run(asynchronous::question_mark("7")).is_err() => "question_mark!(seven) > unit", true;
        run(asynchronous::infers_error("x")).is_err() => "infers_error!(x)", true;
        run(asynchronous::coercion(2))() => "coercion", 3;
        run(asynchronous::impl_return(3)).count() => "impl_return", 3;
        run(asynchronous::impl_in_result(0)).is_err() => "impl_in_result!(String)", true;
        run(asynchronous::callback(|n| async move { Ok(n) })) => "callback", Ok(1);
        run(asynchronous::impl_callback(|_| 3, "x")) => "impl_callback", 3;
        run(asynchronous::patterns((1, 2), [3, 4], String::new(), String::new(), "x".into(), &5)) => "patterns", Some(12);
        run(asynchronous::mutable(vec![])).len() => "mutable", 1;
        run(asynchronous::boxed_recursion(2)) => "boxed_recursion > boxed_recursion > boxed_recursion", Ok(2);
        run(asynchronous::recursion(2)) => "recursion > recursion > recursion", Ok(2);
        panic_of(|| poll(asynchronous::never(5), 1)) => "never!panic", Some("5".to_owned());
        panic_of(|| run(asynchronous::always_fails())) => "always_fails!panic", Some("always".to_owned());
        panic_of(|| run(asynchronous::to_do())).is_some() => "to_do!panic", true;
        run(asynchronous::send_not_sync(Cell::new(1), Box::new(|| ()))) => "send_not_sync > unit", 1;
        run(asynchronous::two_lifetimes("a", "b")) => "two_lifetimes > unit", ("a", "b");
        run(asynchronous::elided(&mut vec)).map(|first| *first) => "elided", Some(1);
        run(asynchronous::two_elided("ab", &mut text)) => "two_elided", 2;
        run(asynchronous::returns_future(1)) => "returns_future", Ok(2);
        run(asynchronous::returns_future_borrowing("ab")) => "returns_future_borrowing", 2;
        run(asynchronous::returns_future_pattern((1, 2))) => "returns_future_pattern", Ok(3);
        run(asynchronous::returns_clone_future(1).clone()) => "returns_clone_future", 1;
        run(asynchronous::boxed_alias("a", "b")) => "boxed_alias", Ok(2);
        run(asynchronous::temporaries(shared.clone())) => "temporaries", Some(3);
        run(asynchronous::conditional(1)) => "conditional", Ok(1);
        run(asynchronous::argument_attributes(1)) => "argument_attributes", ();
        run(asynchronous::inner_attributes()) => "inner_attributes", 2;
        asynchronous::main_below() => "main_below > unit", Ok(1);
        asynchronous::main_above() => "main_above > unit", Ok(1);
        run(asynchronous::decorated()) => "decorated", 1;
        run(asynchronous::one_line(1)) => "one_line", 1;
        run(asynchronous::try_block_like()).is_ok() => "try_block_like", true;
        run(asynchronous::reassigned("")) => "reassigned", Ok(1);
    }
}

#[test]
fn methods_with_every_self() {
    let store = methods::Store::default;
    calls! {
        drop(methods::Store::new()) => "new", ();
        store().by_ref(0).is_none() => "by_ref", true;
        store().by_mut("x".into()).map(|name| name.len()) => "by_mut", Ok(1);
        store().unit_mut() => "unit_mut", ();
        store().by_value().is_ok() => "by_value", true;
        store().by_mut_value("x".into()).is_some() => "by_mut_value", true;
        Box::new(store()).boxed() => "boxed", Some(0);
        Rc::new(store()).rc() => "rc", Ok(0);
        Arc::new(store()).arc_ref().is_ok() => "arc_ref", true;
        pin!(store()).pinned() => "pinned", Some(1);
        store().typed() => "typed", Some(0);
        run(store().async_ref()).is_none() => "async_ref", true;
        run(store().async_mut("x")).is_err() => "async_mut!(ParseIntError)", true;
        run(store().async_value()).len() => "async_value", 1;
        run(store().async_unused_self()) => "async_unused_self", ();
        run(Box::new(store()).async_boxed()) => "async_boxed", 0;
        run(Arc::new(store()).async_arc(&store())) => "async_arc", 0;
        run(pin!(store()).async_pinned()) => "async_pinned", 1;
        methods::Wrapper::<str, 2>::associated(3) => "associated!(3)", Err(3);
    }
}

struct Here;
#[async_trait::async_trait(?Send)]
impl LocalRemote for Here {
    async fn declared(&self) {}
}

#[test]
fn functions_of_traits() {
    let (above, below) = (tracer_shapes::traits::Above, tracer_shapes::traits::Below);
    calls! {
        Shop::declared(&1_u32) => "declared", Ok(1);
        Shop::with_default(&1_u32, 2) => "with_default > declared", Ok(2);
        1_u32.unit_default() => "unit_default", ();
        run(AsyncShop::declared(&1_u32, &2)) => "declared", Ok(3);
        run(AsyncShop::with_default(&1_u32, 2)) => "with_default > declared", Ok(3);
        run(AsyncShop::with_default(&"no".to_owned(), 2)).is_err() => "with_default^ > declared!(no)", true;
        run(1_u32.send(2)) => "send", 2;
        run(String::new().send(2)) => "send", 2;
        run(1_u32.boxed(2)) => "boxed", Ok(3);
        run("own".to_owned().boxed(0)) => "boxed", Ok(1);
        run("own".to_owned().boxed(1)).is_err() => "boxed!(own)", true;
        run(Remote::declared(&mut tracer_shapes::traits::Inside, 1, "ab")) => "declared", Ok(3);
        run(Remote::with_default(&tracer_shapes::traits::Inside, "x".into())).is_ok() => "with_default", true;
        "x".parse::<tracer_shapes::traits::Inside>().is_err() => "from_str!(ParseIntError)", true;
        tracer_shapes::traits::Inside.next() => "next", None;
        drop(above) => "drop", ();
        run(below) => "poll", Ok(1);
    }
    let mut above = tracer_shapes::traits::Above;
    let recording = record(|| run(above.declared(1, "x")).is_err());
    assert_trace!(recording, "declared!(x)");
    let mut below = tracer_shapes::traits::Below;
    let recording = record(|| (run(below.declared(1, "x")).is_ok(), run(below.with_default("y".into())).is_err()));
    assert_trace!(recording, "declared, with_default!(y)");
    let recording = record(|| run(Here.with_default(1, (2, 3))));
    assert_trace!(recording, "with_default");
    assert_eq!(recording.output, 5);
}

#[test]
fn items_with_functions_inside() {
    use containers::{Generic, Trait};
    let shop = containers::Shop::<1>;
    let tuple = containers::inside::Tuple(7, std::collections::HashMap::new());
    calls! {
        containers::Shop::<1>::constant() => "", 1;
        shop.plain(1) => "plain", Ok(1);
        run(shop.asynchronous(1)) => "asynchronous", Ok(1);
        shop.named() => "other-name", ();
        shop.left_out() => "", ();
        shop.named_if() => "named-if", ();
        shop.left_out_if() => "", ();
        shop.where_clause(1) => "where_clause", Some(1);
        tuple.with_default() => "with_default > declared", Some(7);
        containers::inside::free() => "free", Ok(1);
        containers::inside::Braces { n: 1 }.to_string() => "fmt", "1";
        containers::inside::Empty.generic() => "generic", Some(2);
        run(containers::inside::deeper::free(&1)) => "free", Ok(1);
    }
}

#[test]
fn names_that_the_user_has_taken() {
    let ctx = create_env((), "job");
    calls! {
        names::no_prelude::sync(1) => "sync", Ok(1);
        run(names::no_prelude::asynchronous(1, (2, 3))) => "asynchronous", Ok(3);
        run(names::no_prelude::future(1)) => "future", 1;
        run(names::no_prelude::boxed(1)) => "boxed", 1;
        names::shadowed::sync(1).0 => "sync", 1;
        run(names::shadowed::asynchronous(1)) => "asynchronous", Ok(1);
        names::shadowed::alias(1) => "alias", Some(1);
        names::locals::frame(1, 2, 3, (4, 5)) => "frame", Some(10);
        run(names::locals::values((1, 2), 3)) => "values", Some(6);
        { names::no_prelude::one(); run(names::no_prelude::two()) } => "one, two", ();
        names::no_prelude::context(&ctx, 0) => "", 0;
    }
}

#[test]
fn declared_nodes_and_options() {
    let order = options::Order { id: 7, card: String::new() };
    calls! {
        flows::handle() => "handle", Ok(1);
        flows::validating() => "validate", ();
        flows::log() => "log", ();
        run(flows::log_too()) => "log", ();
        flows::named() => "match", ();
        flows::local() => "first, second", ();
        options::fail_if(6) => "fail_if!(u32)", 6;
        run(options::fail_if_async(1)) => "fail_if_async", Ok(1);
        options::off(1, (2, 3)) => "", Ok(6);
        { let ctx = create_env((), "job"); options::unused(&order, (1, 2), &ctx) } => "unused", 2;
        { let ctx = create_env((), "job"); run(options::unused_line(ctx, 1)) } => "unused_line", ();
    }
}
