//! The cases, by what they are about.

pub(crate) mod claim;
pub(crate) mod create;
pub(crate) mod lease;
pub(crate) mod life;
pub(crate) mod list;
pub(crate) mod race;
pub(crate) mod reserve;
pub(crate) mod retain;

use tracer::execution::ExecutionError;

/// The code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ExecutionError>) -> &'static str {
    result.expect_err("it is refused").code()
}
