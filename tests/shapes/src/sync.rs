//! Free functions that are not async.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::io;
use std::sync::{Arc, Mutex};

use tracer::traced_node;

#[traced_node]
pub fn unit() {}

#[traced_node]
pub fn early_return(n: u32) {
    if n == 0 {
        return;
    }
    let _ = n + 1;
}

#[traced_node]
pub fn unit_result(n: u32) -> Result<(), String> {
    if n == 0 {
        return Err("zero".into());
    }
    Ok(())
}

#[traced_node]
pub fn question_mark(text: &str) -> Result<u32, Box<dyn Error>> {
    let n: u32 = text.parse()?;
    if n == 7 {
        Err("seven")?;
    }
    Ok(n)
}

type Parsed<T> = Result<T, std::num::ParseIntError>;

#[traced_node]
pub fn alias(text: &str) -> Parsed<u32> {
    text.parse()
}

#[traced_node]
pub fn io_alias() -> io::Result<Vec<u8>> {
    Ok(vec![])
}

#[traced_node]
pub fn coercion(n: u32) -> Box<dyn Fn() -> u32> {
    if n == 1 {
        return Box::new(move || n);
    }
    Box::new(move || n + 1)
}

#[traced_node]
pub fn coercion_in_result(n: u32) -> Result<Box<dyn Display>, String> {
    if n == 1 {
        return Ok(Box::new(n));
    }
    Ok(Box::new("n"))
}

#[traced_node]
pub fn generic<K: Hash + Eq, V, const N: usize>(pairs: [(K, V); N]) -> HashMap<K, V>
where
    V: Clone,
{
    let mut map = HashMap::new();
    for (key, value) in pairs {
        map.insert(key, value);
    }
    map
}

#[traced_node]
pub fn generic_error<T, E>(value: Result<T, E>) -> Result<T, E> {
    value
}

#[traced_node]
pub fn generic_return<T>(value: T) -> T {
    value
}

#[traced_node]
pub fn lifetime<'a>(a: &'a str, _b: &str) -> Option<&'a str> {
    Some(a)
}

#[traced_node]
pub fn elided(a: &mut Vec<u8>) -> Option<&mut u8> {
    a.first_mut()
}

#[traced_node]
pub fn reborrow<'a>(map: &'a mut HashMap<u32, String>, key: u32) -> Result<&'a mut String, u32> {
    map.get_mut(&key).ok_or(key)
}

#[traced_node]
pub fn reassigned(mut text: &str) -> Result<usize, ()> {
    text = if text.is_empty() { "x" } else { text };
    Ok(text.len())
}

#[traced_node]
pub fn impl_argument(items: impl IntoIterator<Item = u32>, f: impl Fn(u32) -> u32) -> Vec<u32> {
    items.into_iter().map(f).collect()
}

#[traced_node]
pub fn impl_return(n: u32) -> impl Iterator<Item = u32> + Clone {
    0..n
}

#[traced_node]
pub fn impl_in_result<'a>(text: &'a str) -> Result<impl Iterator<Item = char> + 'a, String> {
    if text.is_empty() {
        return Err(String::new());
    }
    Ok(text.chars())
}

#[traced_node]
pub fn impl_closure(n: u32) -> impl Fn(u32) -> u32 {
    move |m| n + m
}

pub struct Pair {
    pub a: String,
    pub b: Vec<u8>,
}

#[traced_node]
pub fn patterns(
    (a, mut b): (u32, u32),
    [c, .., d]: [u32; 4],
    Pair { a: name, .. }: Pair,
    &e: &u32,
    _: String,
    ref f: String,
    g @ _: u32,
) -> Result<u32, String> {
    b += a;
    Ok(b + c + d + e + g + (name.len() + f.len()) as u32)
}

#[traced_node]
pub fn patterns_unit((a, _): (String, String), _b: u32, mut c: Vec<String>) {
    c.push(a);
}

#[traced_node]
pub fn mutable(mut a: Vec<u8>, mut b: u8) -> Vec<u8> {
    b += 1;
    a.push(b);
    a
}

#[traced_node]
pub fn never(n: u32) -> ! {
    panic!("{}", n)
}

#[traced_node]
pub fn always_fails() -> Result<u32, String> {
    panic!("always")
}

#[traced_node]
pub fn always_loops() -> Result<u32, String> {
    loop {}
}

#[traced_node]
pub fn to_do() -> Vec<u32> {
    todo!()
}

#[traced_node]
pub unsafe fn dangerous(p: *const u32) -> Result<u32, ()> {
    Ok(unsafe { *p })
}

#[traced_node]
pub extern "C" fn foreign(n: u32) -> u32 {
    n + 1
}

#[traced_node]
pub extern "C" fn foreign_unit(_n: u32) {}

#[traced_node]
pub unsafe extern "C" fn foreign_unsafe(n: i32) -> Option<extern "C" fn()> {
    if n == 0 { None } else { None }
}

#[traced_node]
#[track_caller]
pub fn caller() -> &'static std::panic::Location<'static> {
    std::panic::Location::caller()
}

#[track_caller]
#[traced_node]
pub fn caller_result(n: u32) -> Result<&'static std::panic::Location<'static>, String> {
    if n == 0 {
        return Err("zero".to_owned());
    }
    Ok(std::panic::Location::caller())
}

#[traced_node]
pub fn inner_attributes(n: u32) -> Result<u32, ()> {
    #![allow(unused_variables)]
    //! Documented inside.
    let unused = n;
    Ok(1)
}

#[traced_node]
pub fn nested(n: u32) -> Result<u32, String> {
    #[traced_node]
    fn inner(n: u32) -> Result<u32, String> {
        Ok(n)
    }
    const ONE: u32 = 1;
    use std::cmp::max;
    inner(max(n, ONE))
}

#[traced_node]
pub fn nested_unit() {
    #[traced_node]
    async fn inner() {}
    drop(inner());
}

#[traced_node]
pub fn recursion(n: u64) -> Result<u64, String> {
    if n == 0 { Ok(1) } else { Ok(n * recursion(n - 1)?) }
}

macro_rules! functions {
    ($vis:vis $name:ident ($arg:ident : $ty:ty) -> $ret:ty $body:block) => {
        #[traced_node]
        $vis fn $name($arg: $ty) -> $ret $body
    };
}

functions!(pub from_macro(n: u32) -> Result<u32, String> { Ok(n) });
functions!(pub from_macro_plain(n: u32) -> u32 { n });

macro_rules! whole_function {
    ($item:item) => {
        #[traced_node]
        $item
    };
}

whole_function! {
    pub fn passed_whole((a, b): (u32, u32)) -> Result<u32, String> { Ok(a + b) }
}

macro_rules! hygienic {
    ($name:ident) => {
        #[traced_node]
        pub fn $name(n: u32) -> Result<u32, String> {
            let m = n;
            Ok(m)
        }
        #[traced_node]
        pub async fn hygienic_async(n: u32, (a, b): (u32, u32)) -> Result<u32, String> {
            Ok(n + a + b)
        }
    };
}

hygienic!(hygienic_sync);

#[traced_node]
pub fn higher_ranked(f: &dyn for<'a> Fn(&'a str) -> &'a str, text: &str) -> Result<String, ()> {
    Ok(f(text).to_owned())
}

#[traced_node]
pub fn returns_higher_ranked() -> Box<dyn for<'a> Fn(&'a str) -> &'a str> {
    Box::new(|text| text)
}

#[traced_node]
pub fn argument_attributes(#[allow(unused_variables)] a: u32, #[allow(unused_mut)] mut b: u32) -> Result<u32, ()> {
    Ok(b)
}

#[traced_node]
pub fn conditional(
    #[cfg(any())] missing: Missing,
    #[cfg(all())] present: u32,
    #[cfg(all())] (left, _): (u32, String),
) -> Result<u32, String> {
    Ok(present + left)
}

#[traced_node]
pub fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, mut i: u8, (j, _): (u8, String)) -> Option<u8> {
    i += a + b + c + d + e + f + g + h + j;
    Some(i)
}

#[traced_node]
pub fn temporaries(shared: Arc<Mutex<u32>>, cell: RefCell<String>) -> Option<usize> {
    Some(*shared.lock().unwrap() as usize + cell.borrow().len())
}

#[traced_node]
pub fn tail_temporary(shared: Mutex<Vec<u8>>) -> Option<u8> {
    shared.lock().unwrap().pop()
}

#[traced_node]
pub fn tail_temporary_plain(shared: Mutex<Vec<u8>>) -> usize {
    shared.lock().unwrap().len()
}

#[traced_node]
pub fn many_temporaries(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, shared: Mutex<Vec<u8>>) -> Option<u8> {
    let _ = [a, b, c, d, e, f, g, h];
    shared.lock().unwrap().pop()
}

#[traced_node]
#[rustfmt::skip]
pub fn one_line(n: u32) -> Result<u32, ()> { Ok(n) }

#[traced_node]
#[rustfmt::skip]
pub fn unit_one_line(n: u32) { println!("{}", n) }

#[traced_node]
pub fn labels() -> Option<u32> {
    'outer: loop {
        loop {
            break 'outer;
        }
    }
    None
}

#[traced_node]
#[must_use]
#[inline]
#[doc(hidden)]
pub fn decorated() -> Result<u32, ()> {
    Ok(1)
}

#[traced_node]
pub fn r#match(r#type: u32) -> Result<u32, ()> {
    Ok(r#type)
}

#[traced_node]
pub fn unbounded_error(n: Opaque) -> Result<(), Opaque> {
    Err(n)
}

pub struct Opaque;

#[traced_node]
pub fn dyn_argument(f: &mut dyn FnMut(u32), it: Box<dyn Iterator<Item = u32> + '_>) -> Result<(), String> {
    it.for_each(|n| f(n));
    Ok(())
}

#[traced_node]
pub fn debug_generic<T: Debug, E: Debug>(value: T, error: E) -> Result<T, E> {
    if format!("{:?}", value).is_empty() { Err(error) } else { Ok(value) }
}

#[traced_node]
pub(crate) fn visible() -> Result<(), ()> {
    Ok(())
}
