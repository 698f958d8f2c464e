//! Traced functions that run on one thread from beginning to end.

use super::line::End;
use super::scope::{self, Position, Scope};
use crate::context::Context;
use crate::outcome::Outcome;
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
#[inline(never)]
pub fn enter(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    let mut frame = OpenFrame { at: None, before: None, holds: false, panicking: false };
    if !switch::is_on() {
        return frame;
    }
    frame.panicking = std::thread::panicking();
    let mut panic = None;
    scope::with(|scope| {
        if scope.is_untraced() {
            return;
        }
        frame.before = scope.here();
        let at = position(scope, at);
        if let Some(opening) = scope.enter(at, None, site, Detail::of_values(values), &mut panic) {
            frame.at = Some(opening.at);
            frame.holds = opening.holds;
        }
    });
    if let Some(violation) = panic {
        // The frame is ended by this panic.
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
        self.finish(End::of(outcome));
    }

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
}

impl Drop for OpenFrame {
    #[inline]
    fn drop(&mut self) {
        if self.at.is_some() {
            self.finish(End::dropped(self.panicking, None));
        }
    }
}

impl End {
    #[inline]
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome.0 {
            None => Self { error: None, detail: None },
            Some(ending) => {
                let error = ending.failure.is_some().then_some(ErrorKind::Err);
                let values = ending.value.into_inner();
                Self { error, detail: Some(Box::new(Detail { failure: ending.failure, values, ..Detail::default() })) }
            }
        }
    }

    /// The end of a call that gave no value: a panic that began in it, else `otherwise`.
    pub(super) fn dropped(panicking_before: bool, otherwise: Option<ErrorKind>) -> Self {
        let panicked = !panicking_before && std::thread::panicking();
        Self { error: if panicked { Some(ErrorKind::Panic) } else { otherwise }, detail: None }
    }
}

impl Detail {
    #[inline]
    pub(crate) fn of_values(values: Recorded) -> Option<Box<Self>> {
        values.into_inner().map(|values| Box::new(Self { values: Some(values), ..Self::default() }))
    }
}

/// The trace that the calling code is in: `None` outside of traced functions and where tracing is off.
pub fn current_trace_id() -> Option<crate::TraceId> {
    scope::with(|scope| scope.here()?.cell.trace().map(|trace| trace.id)).flatten()
}
