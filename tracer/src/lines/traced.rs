//! Traced functions that are futures: entered at the first poll, ended by the value, a panic or a drop.

use std::future::Future;
use std::mem::ManuallyDrop;
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
        judge: J,
        state: State,
    }

    impl<F, J> PinnedDrop for Traced<F, J> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.state.is_off() {
                drop_recorded(this.future, this.state);
            }
        }
    }
}

impl<F, J> std::fmt::Debug for Traced<F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traced").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Where a call is. Single words, not one enum with all that belongs to each stage: the compiler then moves no more of a
/// future than what was set, which is next to nothing where recording is off.
#[derive(Debug)]
struct State {
    /// Dropped by hand, so that the drop of a future that is not recorded is one look at this.
    stage: ManuallyDrop<Stage>,
    occurrence: u32,
    /// The caller, whose line is pinned; when running, the frame.
    at: Option<Position>,
    key: u64,
    site: Option<&'static Site>,
}

#[derive(Debug)]
enum Stage {
    /// Ended, or not recorded.
    Off,
    /// Called, not yet polled: by nobody, or by the innermost frame.
    Called(Recorded),
    /// Likewise, otherwise. These are few, and futures small without what belongs to them.
    CalledElsewhere(Box<Called>),
    Running {
        /// Whether the thread was panicking when the frame was entered.
        panicking: bool,
    },
}

#[derive(Debug)]
struct Called {
    call: Option<Call>,
    /// The caller is from a context that was given, so it holds wherever the future is polled.
    given: bool,
    values: Recorded,
}

/// Wraps the future of one call; `judge` says how its output counts.
#[inline]
pub fn traced<F: Future, J: Fn(&F::Output) -> Outcome>(
    site: &'static Site,
    at: Option<&Context>,
    values: Recorded,
    future: F,
    judge: J,
) -> Traced<F, J> {
    Traced { future: Some(future), judge, state: State::called(site, at, values) }
}

/// The call of a traced future, before there is a future: for functions whose context moves into it.
#[derive(Debug)]
#[must_use = "nothing is traced without its future"]
pub struct Prepared(State);

/// The first half of [`traced`].
#[inline]
pub fn prepare(site: &'static Site, at: Option<&Context>, values: Recorded) -> Prepared {
    Prepared(State::called(site, at, values))
}

impl Prepared {
    /// The second half of [`traced`].
    #[inline]
    pub fn traced<F: Future, J: Fn(&F::Output) -> Outcome>(self, future: F, judge: J) -> Traced<F, J> {
        Traced { future: Some(future), judge, state: self.0 }
    }
}

impl State {
    // Not a constant: the compiler would copy all of its bytes.
    #[inline]
    fn off() -> Self {
        Self { stage: ManuallyDrop::new(Stage::Off), occurrence: 0, at: None, key: 0, site: None }
    }

    #[inline]
    fn called(site: &'static Site, context: Option<&Context>, values: Recorded) -> Self {
        if !switch::is_on() {
            return Self::off();
        }
        if context.is_none() {
            if let Some(Counted { at: Position { cell, frame }, key, occurrence }) = count(site) {
                let (stage, at) = (Stage::Called(values), Some(Position { cell, frame }));
                return Self { stage: ManuallyDrop::new(stage), occurrence, at, key, site: Some(site) };
            }
        }
        match called_anywhere(site, context, values) {
            Some((stage, at)) => Self { stage: ManuallyDrop::new(stage), occurrence: 0, at, key: 0, site: Some(site) },
            None => Self::off(),
        }
    }

    #[inline]
    fn is_off(&self) -> bool {
        matches!(*self.stage, Stage::Off)
    }

    /// The frame; it is entered now if it was not. `None`: it is not recorded.
    #[inline]
    fn running(&mut self) -> Option<Position> {
        if !matches!(*self.stage, Stage::Running { .. }) {
            self.begin();
        }
        self.at
    }

    /// Begins at the first poll, if it is recorded.
    #[inline(never)]
    fn begin(&mut self) {
        let Self { stage, occurrence, at, key, site, .. } = std::mem::replace(self, Self::off());
        let began = site.and_then(|site| match (ManuallyDrop::into_inner(stage), at) {
            (Stage::Called(values), Some(at)) => {
                let counted = Counted { at, key, occurrence };
                let usual = || hot::with(|hot| hot.enter_counted(site, counted));
                match if values.is_some() { None } else { common(usual) } {
                    Some(frame) => Some((Position { frame: Some(frame), ..at }, std::thread::panicking())),
                    None => Called::of(counted, values).begin(site, Some(at)),
                }
            }
            (Stage::Called(values), None) => Called { call: None, given: false, values }.begin(site, None),
            (Stage::CalledElsewhere(called), at) => called.begin(site, at),
            _ => None,
        });
        if let Some((at, panicking)) = began {
            self.stage = ManuallyDrop::new(Stage::Running { panicking });
            self.at = Some(at);
        }
    }
}

#[inline(never)]
fn count(site: &'static Site) -> Option<Counted> {
    hot::with(|hot| hot.count(site))
}

#[cold]
#[inline(never)]
fn called_anywhere(
    site: &'static Site,
    context: Option<&Context>,
    values: Recorded,
) -> Option<(Stage, Option<Position>)> {
    let called = scope::with(|scope| {
        if scope.is_untraced() {
            return None;
        }
        let Some(at) = super::frame::position(scope, context) else { return Some((Stage::Called(values), None)) };
        let given = context.is_some() && !scope.is_here(at);
        // A line that cannot be had now is not pinned either; the call then begins wherever it is polled.
        let call = scope.call_later(at, site);
        let at = call.is_some().then_some(at);
        Some((Stage::CalledElsewhere(Box::new(Called { call, given, values })), at))
    });
    called.flatten()
}

impl Called {
    fn of(Counted { at, key, occurrence }: Counted, values: Recorded) -> Self {
        let call = Call { parent: at.frame, key, occurrence, tag: Tag::enter(false) };
        Self { call: Some(call), given: false, values }
    }

    /// Begins what was called at `pinned`; `None`: not recorded.
    #[cold]
    #[inline(never)]
    fn begin(self, site: &'static Site, pinned: Option<Position>) -> Option<(Position, bool)> {
        let panicking = std::thread::panicking();
        let began = scope::with(|scope| {
            if scope.is_untraced() {
                if let Some(pinned) = pinned {
                    scope.unpin(pinned.cell);
                }
                return None;
            }
            let at = match (pinned, scope.here()) {
                (Some(at), Some(here)) if !self.given && at.same_trace(here) => Some(here),
                (Some(at), _) => Some(at),
                (None, here) => here,
            };
            let before = scope.here();
            let opening = scope.enter(at, self.call, site, self.values.into_detail());
            if let Some(pinned) = pinned {
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
}

#[inline(never)]
fn end_common(cell: &'static Cell, frame: u64, before: u64) -> bool {
    hot::with(|hot| hot.end::<false>(Some(cell), frame, before))
}

#[inline(never)]
fn drop_recorded<F>(mut future: Pin<&mut Option<F>>, state: &mut State) {
    let State { stage, at, .. } = std::mem::replace(state, State::off());
    let stage = ManuallyDrop::into_inner(stage);
    let Some(at) = at else { return };
    if let Stage::Running { panicking } = stage {
        // Inner frames end before this one does, whatever their drops do.
        let _end = EndLast { at, panicking };
        let _within = Within::enter(at);
        future.set(None);
    } else {
        // The call will not begin.
        scope::with_at_last(|scope| scope.unpin(at.cell));
    }
}

impl<F: Future, J: Fn(&F::Output) -> Outcome> Future for Traced<F, J> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("it is dropped with this future only");
        if this.state.is_off() { future.poll(cx) } else { poll_recorded(future, this.judge, this.state, cx) }
    }
}

#[inline(never)]
fn poll_recorded<F: Future, J: Fn(&F::Output) -> Outcome>(
    future: Pin<&mut F>,
    judge: &J,
    state: &mut State,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let Some(at) = state.running() else {
        return future.poll(cx);
    };
    let within = Some(Within::enter(at));
    let mut poll = Polled { at, within, state, done: false };
    let Poll::Ready(output) = future.poll(cx) else {
        poll.done = true;
        return Poll::Pending;
    };
    poll.finish(End::of(judge(&output)));
    Poll::Ready(output)
}

/// One poll: whatever unwinds out of it ends the frame as a panic.
struct Polled<'a> {
    at: Position,
    within: Option<Within>,
    state: &'a mut State,
    /// The frame stays open, or has ended.
    done: bool,
}

impl Polled<'_> {
    #[inline]
    fn finish(&mut self, end: End) {
        self.done = true;
        *self.state = State::off();
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
            let panicking = matches!(*self.state.stage, Stage::Running { panicking: true });
            self.finish(End::dropped(Some(self.at), panicking, Some(ErrorKind::Cancelled)));
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
        scope::with_at_last(|scope| {
            let holds = scope.hold(self.at.cell) == Some(true);
            scope.end(self.at, end);
            if holds {
                scope.let_go(self.at.cell);
            }
        });
    }
}
