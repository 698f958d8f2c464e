//! Traced functions that run on one thread from beginning to end.

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
pub struct OpenFrame {
    /// `None`: not recorded.
    at: Option<Position>,
    before: Option<Position>,
    holds: bool,
    panicking: bool,
}

/// Enters `site` at `at`, or at the surrounding context.
// Small, so that it needs no stack frame of its own where recording is off.
#[inline(never)]
pub fn enter(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    if switch::is_on() {
        return begin(site, at, values);
    }
    OpenFrame { at: None, before: None, holds: false, panicking: false }
}

#[inline(never)]
fn begin(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    let panicking = std::thread::panicking();
    if at.is_none() && !values.is_some() {
        let below = scope::with(|scope| {
            let before = scope.here();
            Some((scope.enter_below(site)?, before))
        });
        match below {
            Some(Some((at, before))) => return OpenFrame { at: Some(at), before, holds: false, panicking },
            Some(None) => {}
            None => return OpenFrame { at: None, before: None, holds: false, panicking },
        }
    }
    begin_anywhere(site, at, values, panicking)
}

#[cold]
#[inline(never)]
fn begin_anywhere(site: &'static Site, at: Option<&Context>, values: Recorded, panicking: bool) -> OpenFrame {
    let mut frame = OpenFrame { at: None, before: None, holds: false, panicking };
    let opening = scope::with(|scope| {
        if scope.is_untraced() {
            return None;
        }
        frame.before = scope.here();
        let at = position(scope, at);
        scope.enter(at, None, site, values.into_detail())
    });
    let Some(opening) = opening.flatten() else { return frame };
    (frame.at, frame.holds) = (Some(opening.at), opening.holds);
    if let Some(violation) = opening.violation {
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
    #[inline(never)]
    pub fn end(mut self, outcome: Outcome) {
        if outcome.0.is_some() || !self.ended() {
            self.finish(End::of(outcome));
        }
    }

    /// The common end, of a call that went well. `false`: it is another, and nothing was done.
    #[inline]
    fn ended(&mut self) -> bool {
        let Some(at) = self.at else { return true };
        let ended = |scope: &mut Scope| {
            let ended = scope.end_innermost(at);
            if ended {
                scope.go(self.before);
            }
            ended
        };
        let ended = !self.holds && scope::with(ended).unwrap_or(false);
        if ended {
            self.at = None;
        }
        ended
    }

    #[cold]
    #[inline(never)]
    fn finish(&mut self, end: End) {
        let Some(at) = self.at.take() else { return };
        scope::with(|scope| {
            scope.end(at, end);
            scope.go(self.before);
            if self.holds {
                scope.let_go(at.cell);
            }
        });
    }

    #[cold]
    #[inline(never)]
    fn finish_dropped(&mut self) {
        self.finish(End::dropped(self.panicking, None));
    }
}

impl Drop for OpenFrame {
    // Out of line: it is in every traced function whose value says nothing of success.
    #[inline(never)]
    fn drop(&mut self) {
        if self.at.is_some() && (std::thread::panicking() || !self.ended()) {
            self.finish_dropped();
        }
    }
}

impl End {
    #[inline]
    pub(super) fn of(outcome: Outcome) -> Self {
        let failed = outcome.0.as_ref().is_some_and(|detail| detail.failure.is_some());
        Self { error: failed.then_some(ErrorKind::Err), detail: outcome.0 }
    }

    /// The end of a call that gave no value: a panic that began in it, else `otherwise`.
    pub(super) fn dropped(panicking_before: bool, otherwise: Option<ErrorKind>) -> Self {
        if panicking_before || !std::thread::panicking() {
            return Self { error: otherwise, detail: None };
        }
        Self::panicked(scope::with(Scope::take_panic).flatten())
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
