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
#[inline(never)]
pub fn enter(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    let mut frame = OpenFrame { at: None, before: None, holds: false, panicking: false };
    if !switch::is_on() {
        return frame;
    }
    frame.panicking = std::thread::panicking();
    let entered = scope::with(|scope| {
        frame.before = scope.here();
        if at.is_none() && !values.is_some() && !scope.is_untraced() {
            frame.at = scope.enter_below(site);
        }
    });
    if entered.is_some() && frame.at.is_none() {
        frame.enter(site, at, values);
    }
    frame
}

impl OpenFrame {
    #[cold]
    fn enter(&mut self, site: &'static Site, at: Option<&Context>, values: Recorded) {
        let opening = scope::with(|scope| {
            if scope.is_untraced() {
                return None;
            }
            let at = position(scope, at);
            scope.enter(at, None, site, Detail::of_values(values))
        });
        let Some(opening) = opening.flatten() else { return };
        (self.at, self.holds) = (Some(opening.at), opening.holds);
        if let Some(violation) = opening.violation {
            // Ends the frame.
            panic!("{violation}");
        }
    }
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
        let Some(at) = self.at.take() else { return };
        let ended = outcome.0.is_none()
            && !self.holds
            && scope::with(|scope| {
                let ended = scope.end_innermost(at);
                if ended {
                    scope.go(self.before);
                }
                ended
            })
            .unwrap_or(false);
        if !ended {
            self.finish(at, End::of(outcome));
        }
    }

    #[cold]
    fn finish(&self, at: Position, end: End) {
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
        if let Some(at) = self.at.take() {
            self.finish(at, End::dropped(at, self.panicking, None));
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
