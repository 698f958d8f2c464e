//! Traced functions that are futures: entered at the first poll, ended by the value, a panic or a drop.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::cell::Cell;
use super::frame::common;
use super::hot::{self, Counted};
use super::line::{Call, End};
use super::scope::{self, Position};
use super::within::Within;
use crate::context::Context;
use crate::id::FrameId;
use crate::outcome::Outcome;
use crate::record::ErrorKind;
use crate::recorder::Tag;
use crate::site::Site;
use crate::switch;
use crate::values::Recorded;

pin_project! {
    /// The future of one call.
    #[must_use = "futures do nothing unless polled"]
    pub struct Traced<F, J> {
        // First, so that it is dropped in its place: see `drop` below.
        #[pin]
        future: Option<F>,
        judge: Option<J>,
        state: State,
    }

    impl<F, J> PinnedDrop for Traced<F, J> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let State::Off = this.state {
                return;
            }
            match std::mem::replace(this.state, State::Off) {
                State::Running { at, panicking } => {
                    // Inner frames end before this one does, whatever their drops do.
                    let _end = EndLast { at, panicking };
                    let _within = Within::enter(at);
                    this.future.set(None);
                }
                State::Counted { call, .. } => forget(call.at),
                State::Called(called) => called.forget(),
                State::Off => {}
            }
        }
    }
}

impl<F, J> std::fmt::Debug for Traced<F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traced").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    /// Called, not yet polled: a common call.
    Counted {
        site: &'static Site,
        call: Counted,
    },
    /// Likewise, another.
    Called(Called),
    Running {
        at: Position,
        panicking: bool,
    },
    /// Ended, or not recorded.
    Off,
}

#[derive(Debug)]
struct Called {
    site: &'static Site,
    /// The caller, whose line is pinned.
    at: Option<Position>,
    call: Option<Call>,
    /// `at` comes from a context that was given, so it holds wherever the future is polled.
    given: bool,
    values: Recorded,
}

/// Wraps the future of one call; `judge` says how its output counts.
#[inline]
pub fn traced<F: Future, J: FnOnce(&F::Output) -> Outcome>(
    site: &'static Site,
    at: Option<&Context>,
    values: Recorded,
    future: F,
    judge: J,
) -> Traced<F, J> {
    let mut traced = Traced { future: Some(future), judge: Some(judge), state: State::Off };
    // Asked in line, and what is called writes where it lies, so that a call costs next to nothing where recording is off.
    if switch::is_on() {
        called(site, at, values, &mut traced.state);
    }
    traced
}

/// The call of a traced future, before there is a future: for functions whose context moves into it.
#[derive(Debug)]
#[must_use = "nothing is traced without its future"]
pub struct Prepared(State);

/// The first half of [`traced`].
#[inline]
pub fn prepare(site: &'static Site, at: Option<&Context>, values: Recorded) -> Prepared {
    let mut state = State::Off;
    if switch::is_on() {
        called(site, at, values, &mut state);
    }
    Prepared(state)
}

impl Prepared {
    /// The second half of [`traced`].
    #[inline]
    pub fn traced<F: Future, J: FnOnce(&F::Output) -> Outcome>(self, future: F, judge: J) -> Traced<F, J> {
        Traced { future: Some(future), judge: Some(judge), state: self.0 }
    }
}

#[inline(never)]
fn called(site: &'static Site, context: Option<&Context>, values: Recorded, state: &mut State) {
    if context.is_none() && !values.is_some() {
        if let Some(call) = hot::with(|hot| hot.count(site)) {
            *state = State::Counted { site, call };
            return;
        }
    }
    *state = called_anywhere(site, context, values);
}

#[cold]
#[inline(never)]
fn called_anywhere(site: &'static Site, context: Option<&Context>, values: Recorded) -> State {
    let called = scope::with(|scope| {
        if scope.is_untraced() {
            return None;
        }
        let at = super::frame::position(scope, context);
        let given = context.is_some() && !at.is_some_and(|at| scope.is_here(at));
        // A line that cannot be had now is not pinned either; the call then begins wherever it is polled.
        let call = at.and_then(|at| scope.call_later(at, site));
        let at = at.filter(|_| call.is_some());
        Some(Called { site, at, call, given, values })
    });
    called.flatten().map_or(State::Off, State::Called)
}

impl Called {
    fn of(site: &'static Site, call: Counted) -> Self {
        let Counted { at, key, occurrence } = call;
        let call = Call { parent: at.frame, key, occurrence, tag: Tag::enter(false) };
        Self { site, at: Some(at), call: Some(call), given: false, values: Recorded::none() }
    }

    /// Begins at the first poll; `None`: not recorded.
    #[cold]
    #[inline(never)]
    fn begin(self) -> Option<(Position, bool)> {
        let panicking = std::thread::panicking();
        let began = scope::with(|scope| {
            if scope.is_untraced() {
                return None;
            }
            let at = match (self.at, scope.here()) {
                (Some(at), Some(here)) if !self.given && at.same_trace(here) => Some(here),
                (Some(at), _) => Some(at),
                (None, here) => here,
            };
            let before = scope.here();
            let opening = scope.enter(at, self.call, self.site, self.values.into_detail());
            if let Some(pinned) = self.at {
                scope.unpin(pinned.cell);
            }
            // The poll that follows goes there again, as every poll does.
            scope.go(before);
            let opening = opening?;
            if opening.holds {
                scope.let_go(opening.at.cell);
            }
            Some((opening.at, opening.violation))
        });
        let (at, violation) = began.flatten()?;
        if let Some(violation) = violation {
            let _end = EndLast { at, panicking };
            panic!("{violation}");
        }
        Some((at, panicking))
    }

    fn forget(self) {
        if let Some(at) = self.at {
            forget(at);
        }
    }
}

/// A call made at `at` will not begin.
fn forget(at: Position) {
    scope::with(|scope| scope.unpin(at.cell));
}

#[inline(never)]
fn end_common(cell: &'static Cell, frame: u64, before: u64) -> bool {
    hot::with(|hot| hot.end::<false>(Some(cell), frame, before))
}

/// Begins at the first poll; `None`: not recorded.
#[inline(never)]
fn begin(state: State) -> Option<(Position, bool)> {
    match state {
        State::Counted { site, call } => match common(|| hot::with(|hot| hot.enter_counted(site, call))) {
            Some(frame) => Some((Position { frame: Some(frame), ..call.at }, std::thread::panicking())),
            None => Called::of(site, call).begin(),
        },
        State::Called(called) => called.begin(),
        State::Running { .. } | State::Off => None,
    }
}

impl<F: Future, J: FnOnce(&F::Output) -> Outcome> Future for Traced<F, J> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let State::Counted { .. } | State::Called(_) = this.state {
            if let Some((at, panicking)) = begin(std::mem::replace(this.state, State::Off)) {
                *this.state = State::Running { at, panicking };
            }
        }
        let State::Running { at, panicking } = *this.state else {
            return this.future.as_pin_mut().expect("it is dropped with this future only").poll(cx);
        };
        let within = Some(Within::enter(at));
        let mut poll = Polled { at, panicking, within, state: this.state, done: false };
        let future = this.future.as_pin_mut().expect("it is dropped with this future only");
        let Poll::Ready(output) = future.poll(cx) else {
            poll.done = true;
            return Poll::Pending;
        };
        let outcome = this.judge.take().map_or_else(Outcome::ok, |judge| judge(&output));
        poll.finish(End::of(outcome));
        Poll::Ready(output)
    }
}

/// One poll: whatever unwinds out of it ends the frame as a panic.
struct Polled<'a> {
    at: Position,
    panicking: bool,
    within: Option<Within>,
    state: &'a mut State,
    /// The frame stays open, or has ended.
    done: bool,
}

impl Polled<'_> {
    #[inline]
    fn finish(&mut self, end: End) {
        self.done = true;
        *self.state = State::Off;
        let before = self.within.as_ref().and_then(Within::before);
        let raw = |at: Position| at.frame.map_or(0, FrameId::raw);
        if end.is_plain() && before.is_some_and(|before| end_common(self.at.cell, raw(self.at), raw(before))) {
            // The thread is back where it was.
            std::mem::forget(self.within.take());
        } else {
            scope::with(|scope| scope.end(self.at, end));
        }
    }
}

impl Drop for Polled<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.done {
            self.finish(End::dropped(Some(self.at), self.panicking, Some(ErrorKind::Cancelled)));
        }
        self.within.take();
    }
}

/// Ends a frame when it is dropped.
struct EndLast {
    at: Position,
    panicking: bool,
}

impl Drop for EndLast {
    fn drop(&mut self) {
        let end = End::dropped(Some(self.at), self.panicking, Some(ErrorKind::Cancelled));
        scope::with(|scope| {
            let holds = scope.hold(self.at.cell) == Some(true);
            scope.end(self.at, end);
            if holds {
                scope.let_go(self.at.cell);
            }
        });
    }
}
