//! Finds the context in a parameter whose type is called `Context`: ours, or that of one of the many other crates.

use crate::context::Context;

/// A parameter that may carry a context. The inherent methods win over [`NoContext`].
#[derive(Debug)]
pub struct ContextProbe<'a, T: ?Sized>(pub &'a T);

impl<'a> ContextProbe<'a, Context> {
    /// The context.
    pub fn __tracer_context(&self) -> Option<&'a Context> {
        Some(self.0)
    }
}

impl<'a> ContextProbe<'a, &Context> {
    /// The context.
    pub fn __tracer_context(&self) -> Option<&'a Context> {
        Some(self.0)
    }
}

impl<'a> ContextProbe<'a, &mut Context> {
    /// The context.
    pub fn __tracer_context(&self) -> Option<&'a Context> {
        Some(self.0)
    }
}

/// Another crate's `Context`.
pub trait NoContext {
    /// None.
    fn __tracer_context<'a>(&self) -> Option<&'a Context>;
}

impl<T: ?Sized> NoContext for ContextProbe<'_, T> {
    fn __tracer_context<'a>(&self) -> Option<&'a Context> {
        None
    }
}

/// `ctx = parameter`: the parameter has to carry a context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` carries no trace context",
    label = "expected `tracer::Context`, `&tracer::Context` or `&mut tracer::Context`",
    note = "another crate's `Context` (std::task, lambda_runtime, worker, anyhow, ..) is not the tracer's: leave out \
            `ctx = ..` and the surrounding context is used"
)]
pub trait Carries {
    /// The context.
    fn context(&self) -> Option<&Context>;
}

#[diagnostic::do_not_recommend]
impl Carries for Context {
    fn context(&self) -> Option<&Context> {
        Some(self)
    }
}

#[diagnostic::do_not_recommend]
impl Carries for &Context {
    fn context(&self) -> Option<&Context> {
        Some(self)
    }
}

#[diagnostic::do_not_recommend]
impl Carries for &mut Context {
    fn context(&self) -> Option<&Context> {
        Some(self)
    }
}
