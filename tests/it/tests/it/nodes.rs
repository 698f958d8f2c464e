//! The functions that the tests pretend to have annotated.

use std::future::Future;

use tracer::__private::{Failure, Outcome, Recorded, Site, enter, traced};

/// Enough for random programs to call different nodes, and few enough for recursion to happen.
pub static SITES: [Site; 5] = [
    Site::new("a", "it", file!(), line!()),
    Site::new("b", "it", file!(), line!()),
    Site::new("c", "it", file!(), line!()),
    Site::new("d", "it", file!(), line!()),
    Site::new("e", "it", file!(), line!()),
];

pub const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The error of every function that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// What the expansion makes of a result.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that `traced` wants")]
pub fn judge(result: &Result<(), Failed>) -> Outcome {
    match result {
        Ok(()) => Outcome::ok(),
        Err(Failed) => Outcome::failed(Failure { type_name: "Failed".into(), ..Failure::default() }),
    }
}

/// A synchronous function as the expansion has it.
pub fn call(site: &'static Site, body: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    let mut frame = enter(site, None, Recorded::none());
    let result = body();
    frame.end(judge(&result));
    result
}

/// An asynchronous one.
pub fn call_async(
    site: &'static Site,
    body: impl Future<Output = Result<(), Failed>>,
) -> impl Future<Output = Result<(), Failed>> {
    traced(site, None, Recorded::none(), body, judge)
}
