//! The text of an error: what its type offers, without asking anything of it.

use std::error::Error;
use std::fmt;

use tracer::test::record;
use tracer::{ErrorKind, ErrorRecord, assert_trace, traced_node};

use crate::drive::{errors, run};

/// An error with a source.
#[derive(Debug)]
struct BadOrder(std::num::ParseIntError);

impl fmt::Display for BadOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad order")
    }
}

impl Error for BadOrder {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn bad_order() -> BadOrder {
    BadOrder("x".parse::<u32>().unwrap_err())
}

const CAUSE: &str = "invalid digit found in string";

#[derive(Debug)]
struct OnlyDebug {
    #[expect(dead_code, reason = "its text shows it")]
    code: u8,
}

/// Has neither text.
struct Opaque;

/// The error that the work recorded.
fn error_of<R>(work: impl FnOnce() -> R) -> ErrorRecord {
    let recording = record(|| drop(work()));
    let records = recording.records();
    let errors = errors(&records);
    assert_eq!(errors.len(), 1, "{recording}");
    assert_eq!(errors[0].kind, ErrorKind::Err);
    errors[0].clone()
}

/// The last part of the type, the text, and the texts of the sources.
fn told(error: &ErrorRecord) -> (&str, Option<&str>, Vec<&str>) {
    let name = error.type_name.split('<').next().unwrap_or_default();
    let name = name.rsplit("::").next().unwrap_or_default();
    (name, error.message.as_deref(), error.chain.iter().map(String::as_str).collect())
}

macro_rules! fails {
    ($ty:ty, $error:expr) => {{
        #[traced_node]
        fn fails() -> Result<u32, $ty> {
            Err($error)
        }
        #[traced_node]
        async fn fails_later() -> Result<u32, $ty> {
            Err($error)
        }
        let (error, later) = (error_of(fails), error_of(|| run(fails_later())));
        assert_eq!(error, later);
        error
    }};
}

#[test]
fn an_error_has_its_text_and_those_of_its_sources() {
    assert_eq!(told(&fails!(BadOrder, bad_order())), ("BadOrder", Some("bad order"), vec![CAUSE]));
    assert_eq!(
        told(&fails!(std::io::Error, std::io::Error::other(bad_order()))),
        ("Error", Some("bad order"), vec![CAUSE])
    );
}

#[test]
fn errors_that_only_lend_what_they_are_have_it_too() {
    assert_eq!(told(&fails!(Box<dyn Error>, bad_order().into())), ("Box", Some("bad order"), vec![CAUSE]));
    assert_eq!(
        told(&fails!(Box<dyn Error + Send + Sync>, bad_order().into())),
        ("Box", Some("bad order"), vec![CAUSE])
    );
    let anyhow = fails!(anyhow::Error, anyhow::Error::new(bad_order()).context("no order today"));
    assert_eq!(told(&anyhow), ("Error", Some("no order today"), vec!["bad order", CAUSE]));
    assert_eq!(anyhow.type_name, "anyhow::Error");
}

#[test]
fn a_text_is_its_own_text() {
    assert_eq!(told(&fails!(String, "out of stock".into())), ("String", Some("out of stock"), vec![]));
    assert_eq!(told(&fails!(&'static str, "out of stock")), ("&str", Some("out of stock"), vec![]));
    assert_eq!(told(&fails!(std::borrow::Cow<'static, str>, "out".into())).1, Some("out"));
}

#[test]
fn without_display_it_is_debug_and_without_both_the_type_alone() {
    assert_eq!(told(&fails!(OnlyDebug, OnlyDebug { code: 3 })), ("OnlyDebug", Some("OnlyDebug { code: 3 }"), vec![]));
    assert_eq!(told(&fails!((), ())), ("()", Some("()"), vec![]));
    assert_eq!(told(&fails!(Opaque, Opaque)), ("Opaque", None, vec![]));
}

#[test]
fn of_a_generic_error_it_is_what_the_bounds_of_the_function_promise() {
    #[traced_node]
    fn unbounded<E>(error: E) -> Result<u32, E> {
        Err(error)
    }
    #[traced_node]
    fn displayed<E: fmt::Display>(error: E) -> Result<u32, E> {
        Err(error)
    }
    #[traced_node]
    fn debugged<E: fmt::Debug>(error: E) -> Result<u32, E> {
        Err(error)
    }
    #[traced_node]
    async fn sourced<E>(error: E) -> Result<u32, E>
    where
        E: Error,
    {
        Err(error)
    }
    assert_eq!(told(&error_of(|| unbounded(bad_order()))), ("BadOrder", None, vec![]));
    assert_eq!(told(&error_of(|| displayed(bad_order()))), ("BadOrder", Some("bad order"), vec![]));
    assert_eq!(told(&error_of(|| debugged(OnlyDebug { code: 1 }))).1, Some("OnlyDebug { code: 1 }"));
    assert_eq!(told(&error_of(|| run(sourced(bad_order())))), ("BadOrder", Some("bad order"), vec![CAUSE]));
}

#[test]
fn an_alias_hides_nothing() {
    type Parsed<T> = Result<T, BadOrder>;
    #[traced_node]
    fn parse() -> Parsed<u32> {
        Err(bad_order())
    }
    #[traced_node]
    fn anyhow() -> anyhow::Result<()> {
        anyhow::bail!("not today")
    }
    #[traced_node]
    fn io() -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound)?
    }
    #[traced_node]
    fn format(f: &mut String) -> fmt::Result {
        use fmt::Write;
        write!(f, "x")?;
        Err(fmt::Error)
    }
    assert_eq!(told(&error_of(parse)), ("BadOrder", Some("bad order"), vec![CAUSE]));
    assert_eq!(told(&error_of(anyhow)), ("Error", Some("not today"), vec![]));
    assert_eq!(told(&error_of(io)).1, Some("entity not found"));
    assert_eq!(told(&error_of(|| format(&mut String::new()))).0, "Error");
}

#[test]
fn options_choose_the_text() {
    #[traced_node(err = display)]
    fn display() -> Result<u32, BadOrder> {
        Err(bad_order())
    }
    #[traced_node(err = debug)]
    fn debug() -> Result<u32, OnlyDebug> {
        Err(OnlyDebug { code: 2 })
    }
    #[traced_node(err = debug)]
    async fn debug_of_text() -> Result<u32, String> {
        Err("a\"b".into())
    }
    #[traced_node(err = none)]
    fn none() -> Result<u32, BadOrder> {
        Err(bad_order())
    }
    #[traced_node(err = none)]
    async fn none_later() -> Result<u32, Opaque> {
        Err(Opaque)
    }
    assert_eq!(told(&error_of(display)).1, Some("bad order"));
    assert_eq!(told(&error_of(debug)).1, Some("OnlyDebug { code: 2 }"));
    assert_eq!(told(&error_of(|| run(debug_of_text()))).1, Some("\"a\\\"b\""));
    assert_eq!(told(&error_of(none)), ("BadOrder", None, vec![]));
    assert_eq!(told(&error_of(|| run(none_later()))), ("Opaque", None, vec![]));
}

#[test]
fn a_test_says_what_is_a_failure() {
    #[traced_node(fail_if = |found| matches!(found, Err(text) if text != "not found"))]
    fn look_up(text: &str) -> Result<u32, String> {
        Err(text.to_owned())
    }
    #[traced_node(fail_if = Option::is_none)]
    async fn first(all: &[u32]) -> Option<u32> {
        all.first().copied()
    }
    #[traced_node(fail_if = |status: &u16| *status >= 500)]
    fn status(status: u16) -> u16 {
        status
    }
    #[traced_node(fail_if = |found| found.as_ref().is_ok_and(Vec::is_empty), err = none)]
    fn all(empty: bool) -> Result<Vec<u32>, Opaque> {
        if empty { Ok(Vec::new()) } else { Err(Opaque) }
    }
    let recording = record(|| {
        look_up("not found").unwrap_err();
        look_up("no connection").unwrap_err();
        run(first(&[1])).unwrap();
        assert_eq!(run(first(&[])), None);
        assert_eq!((status(404), status(500)), (404, 500));
        (all(true).is_ok(), all(false).is_err())
    });
    assert_eq!(recording.output, (true, true));
    assert_trace!(
        recording,
        "look_up, look_up!(no connection), first, first!(Option<u32>), status, status!(u16), all!, all"
    );
}

#[test]
fn an_error_tells_where_its_function_is_written() {
    #[traced_node]
    fn fails() -> Result<u32, String> {
        Err("x".into())
    }
    let recording = record(fails);
    let records = recording.records();
    let at = crate::drive::steps(&records).into_iter().find_map(|step| step.at.clone()).unwrap();
    assert!(at.contains("errors.rs:") && at.ends_with("(macros::errors)"), "{at}");
}

#[test]
fn a_question_mark_converts_as_without_the_attribute() {
    #[traced_node]
    fn sync(text: &str) -> Result<u32, Box<dyn Error>> {
        let number: u32 = text.parse()?;
        if number == 7 {
            Err("seven")?;
        }
        Ok(number)
    }
    #[traced_node]
    async fn later(text: &str) -> anyhow::Result<u32> {
        anyhow::ensure!(text != "7", "seven");
        Ok(text.parse()?)
    }
    let recording = record(|| {
        (sync("1").is_ok(), sync("x").is_err(), sync("7").is_err(), run(later("x")).is_err(), run(later("7")).is_err())
    });
    assert_trace!(
        recording,
        "sync, sync!(invalid digit found in string), sync!(seven), later!(invalid digit found in string), later!(seven)"
    );
}
