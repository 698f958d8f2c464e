//! Traced functions that run on one thread from beginning to end.

use std::mem::ManuallyDrop;

use super::hot;
use super::line::End;
use super::scope::{self, Position, Scope};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::record::ErrorKind;
use crate::recorder::Detail;
use crate::site::Site;
use crate::switch;
use crate::values::Recorded;

/// A call in progress. Dropped without [`end`](Self::end): a panic while unwinding, else a success.
#[derive(Debug)]
#[must_use = "dropping it ends the call"]
pub struct OpenFrame(Option<Open>);

/// A call that is recorded.
#[derive(Debug)]
struct Open {
    at: Position,
    before: Option<Position>,
    flags: u8,
}

/// The line is let go of at the end.
const HOLDS: u8 = 1;
/// The caller is in the same line.
const COMMON: u8 = 4;
/// The thread was panicking already.
const PANICKING: u8 = 2;

/// Enters `site` at `at`, or at the surrounding context.
// In line, so that a call costs next to nothing where recording is off.
#[inline]
pub fn enter(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    if switch::is_on() { begin(site, at, values) } else { OpenFrame(None) }
}

#[inline(never)]
fn begin(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    let flags = if std::thread::panicking() { PANICKING } else { 0 };
    if at.is_none() && !values.is_some() {
        if let Some((before, frame)) = hot::enter(site) {
            let at = Position { frame: Some(frame), ..before };
            return OpenFrame(Some(Open { at, before: Some(before), flags: flags | COMMON }));
        }
    }
    begin_anywhere(site, at, values, flags)
}

#[cold]
#[inline(never)]
fn begin_anywhere(site: &'static Site, at: Option<&Context>, values: Recorded, flags: u8) -> OpenFrame {
    let opened = scope::with(|scope| {
        if scope.is_untraced() {
            return None;
        }
        let before = scope.here();
        let at = position(scope, at);
        let opening = scope.enter(at, None, site, values.into_detail())?;
        let flags = if opening.holds { flags | HOLDS } else { flags };
        Some((OpenFrame(Some(Open { at: opening.at, before, flags })), opening.violation))
    });
    let Some((frame, violation)) = opened.flatten() else { return OpenFrame(None) };
    if let Some(violation) = violation {
        // Ends the frame.
        panic!("{violation}");
    }
    frame
}

/// Where a call is made: the context says which line of calls, the surroundings say where on it.
#[inline]
pub(super) fn position(scope: &mut Scope, context: Option<&Context>) -> Option<Position> {
    match context {
        None => scope.here(),
        Some(context) => context.position(scope),
    }
}

impl OpenFrame {
    /// Ends the call.
    #[inline]
    pub fn end(self, outcome: Outcome) {
        // Ended where it lies: moving it would cost more than looking at it.
        let frame = ManuallyDrop::new(self);
        if let Some(open) = &frame.0 {
            open.end(outcome);
        }
    }
}

impl Drop for OpenFrame {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.drop();
        }
    }
}

impl Open {
    #[inline(never)]
    fn end(&self, outcome: Outcome) {
        if outcome.0.is_some() || !self.ended() {
            self.finish(End::of(outcome));
        }
    }

    #[inline(never)]
    fn drop(&self) {
        if std::thread::panicking() || !self.ended() {
            self.finish(End::dropped(self.at, self.flags & PANICKING != 0, None));
        }
    }

    /// The common end, of a call that went well. `false`: it is another, and nothing was done.
    #[inline]
    fn ended(&self) -> bool {
        self.flags & COMMON != 0 && hot::end(self.at, self.before.and_then(|before| before.frame))
    }

    #[cold]
    #[inline(never)]
    fn finish(&self, end: End) {
        scope::with(|scope| {
            scope.end(self.at, end);
            scope.go(self.before);
            if self.flags & HOLDS != 0 {
                scope.let_go(self.at.cell);
            }
        });
    }
}

impl End {
    /// A success without anything to say.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.error.is_none() && self.detail.is_none()
    }

    #[inline]
    pub(super) fn of(outcome: Outcome) -> Self {
        let failed = outcome.0.as_ref().is_some_and(|detail| detail.failure.is_some());
        Self { error: failed.then_some(ErrorKind::Err), detail: outcome.0 }
    }

    /// The end of a call that gave no value: a panic that began in it, else `otherwise`.
    pub(super) fn dropped(at: Position, panicking_before: bool, otherwise: Option<ErrorKind>) -> Self {
        if panicking_before || !std::thread::panicking() {
            return Self { error: otherwise, detail: None };
        }
        Self::panicked(scope::with(|scope| scope.take_panic(at)).flatten())
    }

    pub(super) fn panicked(text: Option<String>) -> Self {
        let failure = text.map(|text| Failure { message: Some(text), ..Failure::default() });
        let detail = failure.map(|failure| Box::new(Detail { failure: Some(failure), ..Detail::default() }));
        Self { error: Some(ErrorKind::Panic), detail }
    }
}

/// The trace that the calling code is in: `None` outside of traced functions and where tracing is off.
pub fn current_trace_id() -> Option<crate::TraceId> {
    scope::with(|scope| scope.here()?.cell.trace().map(|trace| trace.id)).flatten()
}
