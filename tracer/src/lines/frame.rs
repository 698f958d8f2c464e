//! Traced functions that run on one thread from beginning to end.

use super::hot::{self, Entered, Hot};
use super::line::End;
use super::scope::{self, Opening, Position, Scope};
use crate::context::Context;
use crate::id::FrameId;
use crate::outcome::{Failure, Outcome};
use crate::record::ErrorKind;
use crate::recorder::{Detail, Padded};
use crate::site::Site;
use crate::switch;
use crate::values::Recorded;

/// A call in progress. Dropped without [`end`](Self::end): a panic while unwinding, else a success.
#[derive(Debug)]
#[must_use = "dropping it ends the call"]
pub struct OpenFrame(Open);

#[derive(Debug, Clone, Copy)]
enum Open {
    /// Not recorded.
    Off,
    /// A common call: its caller is in the same line.
    Common { entered: Entered, panicking: bool },
    /// Another.
    Other { at: Position, before: Option<Position>, holds: bool, panicking: bool },
}

/// Enters `site` at `at`, or at the surrounding context.
pub fn enter(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    let mut frame = OpenFrame::new();
    frame.enter_with(site, at, values);
    frame
}

#[inline(never)]
fn begin_with(site: &'static Site, at: Option<&Context>, values: Recorded, frame: &mut Open) {
    match (at, values.as_bytes()) {
        (None, None) => begin(site, frame),
        (None, Some(bytes)) => {
            if !hot::with(|hot| begin_with_in(hot, site, bytes, frame)) {
                begin_with_again(site, values, frame);
            }
        }
        (Some(_), _) => begin_anywhere(site, at, values, frame),
    }
}

/// The usual call with values. `false`: it is not that case.
#[inline(never)]
fn begin_with_in(hot: &Hot, site: &'static Site, values: Padded<'_>, frame: &mut Open) -> bool {
    let Some(entered) = hot.enter_with(site, values) else { return false };
    *frame = Open::Common { entered, panicking: std::thread::panicking() };
    true
}

/// Less usual calls with values.
#[inline(never)]
fn begin_with_again(site: &'static Site, values: Recorded, frame: &mut Open) {
    let entered = values.as_bytes().and_then(|bytes| common(|| hot::with(|hot| hot.enter_with(site, bytes))));
    match entered {
        Some(entered) => *frame = Open::Common { entered, panicking: std::thread::panicking() },
        None => begin_anywhere(site, None, values, frame),
    }
}

/// Tries a common call, and once more if it only wanted for a run.
pub(super) fn common<T>(mut enter: impl FnMut() -> Option<T>) -> Option<T> {
    enter().or_else(|| {
        if !hot::with(Hot::wants_run) {
            return None;
        }
        scope::begin_run();
        enter()
    })
}

#[inline(never)]
fn begin(site: &'static Site, frame: &mut Open) {
    if std::thread::panicking() {
        begin_again(site, frame);
    } else {
        hot::with(|hot| begin_in(hot, site, frame));
    }
}

/// The usual call, with all that it does in one place. The frame is written where it will lie: reading what was just
/// written in other pieces takes as long as the call itself.
#[inline(never)]
fn begin_in(hot: &Hot, site: &'static Site, frame: &mut Open) {
    match hot.enter::<true>(site) {
        Some(entered) => *frame = Open::Common { entered, panicking: false },
        None => begin_again(site, frame),
    }
}

/// Less usual calls.
#[inline(never)]
fn begin_again(site: &'static Site, frame: &mut Open) {
    if let Some(entered) = common(|| hot::with(|hot| hot.enter::<false>(site))) {
        *frame = Open::Common { entered, panicking: std::thread::panicking() };
        return;
    }
    begin_anywhere(site, None, Recorded::none(), frame);
}

#[inline(never)]
fn begin_anywhere(site: &'static Site, at: Option<&Context>, values: Recorded, frame: &mut Open) {
    let panicking = std::thread::panicking();
    let opened = scope::with(|scope| {
        if scope.is_untraced() {
            return None;
        }
        let before = scope.here();
        let at = position(scope, at);
        let Opening { at, holds, violation } = scope.enter(at, None, site, values.into_detail())?;
        Some((Open::Other { at, before, holds, panicking }, violation))
    });
    let Some((opened, violation)) = opened.flatten() else { return };
    *frame = opened;
    if let Some(violation) = violation {
        // Ends the frame.
        panic!("{violation}");
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
    /// Not recorded, unless [entered](Self::enter).
    // A function: a constant would be copied as a whole.
    #[inline(always)]
    #[expect(clippy::inline_always, clippy::new_without_default, reason = "one store")]
    pub const fn new() -> Self {
        Self(Open::Off)
    }

    /// Enters `site` at the surrounding context, without values: as most calls do.
    // In line, so that a call costs next to nothing where recording is off.
    #[inline]
    pub fn enter(&mut self, site: &'static Site) {
        if switch::is_on() {
            begin(site, &mut self.0);
        }
    }

    /// Enters `site` at `at`, or at the surrounding context.
    #[inline]
    pub fn enter_with(&mut self, site: &'static Site, at: Option<&Context>, values: Recorded) {
        if switch::is_on() {
            begin_with(site, at, values, &mut self.0);
        }
    }

    /// Ends the call, so that nothing is left to do when it is dropped.
    // Where it lies: moving it would cost more than looking at it.
    #[inline]
    pub fn end(&mut self, outcome: Outcome) {
        match self.0 {
            Open::Off => {}
            _ if outcome.is_plain() => end_well(&self.0),
            _ => self.0.end(outcome),
        }
        self.0 = Open::Off;
    }
}

impl Drop for OpenFrame {
    #[inline]
    fn drop(&mut self) {
        if let Open::Off = self.0 {
            return;
        }
        if std::thread::panicking() {
            self.0.unwind();
        } else {
            end_well(&self.0);
        }
    }
}

#[inline(never)]
fn end_well(open: &Open) {
    hot::with(|hot| end_in(hot, open));
}

/// The usual end.
#[inline(never)]
fn end_in(hot: &Hot, open: &Open) {
    match *open {
        Open::Off => {}
        Open::Common { entered: Entered { cell, frame, caller }, .. } if hot.end::<true>(cell, frame, caller) => {}
        Open::Common { .. } | Open::Other { .. } => end_again(hot, open),
    }
}

/// Less usual ends.
#[inline(never)]
fn end_again(hot: &Hot, open: &Open) {
    match *open {
        Open::Common { entered: Entered { cell, frame, caller }, .. } if hot.end::<false>(cell, frame, caller) => {}
        _ => open.finish(End::plain()),
    }
}

impl Open {
    #[inline(never)]
    fn end(&self, outcome: Outcome) {
        match (self, outcome.value().as_bytes()) {
            (Self::Off, _) => {}
            (Self::Common { entered, .. }, Some(bytes))
                if !outcome.is_failure() && hot::with(|hot| hot.end_with(entered, bytes)) => {}
            _ => self.finish(End::of(outcome)),
        }
    }

    #[cold]
    #[inline(never)]
    fn unwind(&self) {
        if let Self::Common { panicking, .. } | Self::Other { panicking, .. } = *self {
            self.finish(End::dropped(self.at(), panicking, None));
        }
    }

    /// Where the call is.
    fn at(&self) -> Option<Position> {
        match *self {
            Self::Off => None,
            Self::Common { entered, .. } => entered.at(entered.frame),
            Self::Other { at, .. } => Some(at),
        }
    }

    #[cold]
    #[inline(never)]
    fn finish(&self, end: End) {
        let Some(at) = self.at() else { return };
        let (before, holds) = match *self {
            Self::Other { before, holds, .. } => (before, holds),
            Self::Common { entered, .. } => (entered.at(entered.caller), false),
            Self::Off => (None, false),
        };
        scope::with(|scope| {
            scope.end(at, end);
            scope.go(before);
            if holds {
                scope.let_go(at.cell);
            }
        });
    }
}

impl Entered {
    /// The position of a frame of its line.
    fn at(&self, frame: u64) -> Option<Position> {
        Some(Position { cell: self.cell?, frame: FrameId::from_raw(frame) })
    }
}

impl End {
    /// A success without anything to say.
    pub(super) fn plain() -> Self {
        Self { error: None, detail: None }
    }

    pub(super) fn of(outcome: Outcome) -> Self {
        Self { error: outcome.is_failure().then_some(ErrorKind::Err), detail: outcome.into_detail() }
    }

    /// The end of a call that gave no value: a panic that began in it, else `otherwise`.
    pub(super) fn dropped(at: Option<Position>, panicking_before: bool, otherwise: Option<ErrorKind>) -> Self {
        if panicking_before || !std::thread::panicking() {
            return Self { error: otherwise, detail: None };
        }
        Self::panicked(at.and_then(|at| scope::with(|scope| scope.take_panic(at)).flatten()))
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
