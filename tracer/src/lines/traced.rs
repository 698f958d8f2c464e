//! Traced functions that are futures: entered at the first poll, ended by the value, a panic or a drop.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::cell::Cell;
use super::frame::common;
use super::hot::{self, Counted, Hot, Number};
use super::line::{Call, End};
use super::scope::{self, Position};
use super::within::{Home, Stay, Within};
use crate::context::Context;
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
    /// The line of the caller, which is pinned; when running, of the frame.
    cell: Option<&'static Cell>,
    /// The caller; when running, the frame. 0 for none.
    frame: u64,
    /// That of the call; in a poll, the frame that the thread was in before, 0 for none, if it was in the same line.
    key: u64,
    site: Option<&'static Site>,
}

#[derive(Debug)]
enum Stage {
    /// Ended, or not recorded.
    Off,
    /// Called without values, not yet polled: by nobody, or by the innermost frame.
    Called,
    /// Likewise, with values.
    CalledWith(Recorded),
    /// Likewise, otherwise. These are few, and futures small without what belongs to them.
    CalledElsewhere(Box<Called>),
    Running,
    /// Likewise, and the thread was panicking when the frame was entered.
    RunningInPanic,
}

impl Stage {
    #[inline]
    fn called(values: Recorded) -> Self {
        if values.is_some() { Self::CalledWith(values) } else { Self::Called }
    }

    #[inline]
    fn running(panicking: bool) -> Self {
        if panicking { Self::RunningInPanic } else { Self::Running }
    }
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
        Self { stage: ManuallyDrop::new(Stage::Off), occurrence: 0, cell: None, frame: 0, key: 0, site: None }
    }

    #[inline]
    fn called(site: &'static Site, context: Option<&Context>, values: Recorded) -> Self {
        if !switch::is_on() {
            return Self::off();
        }
        let values = values.rested();
        if context.is_none() {
            let counted = hot::with(|hot| count(hot, site).map(|number| hot.counted(number)));
            if let Some(counted) = counted {
                return Self::of(Stage::called(values), counted, site);
            }
        }
        match called_anywhere(site, context, values) {
            Some((stage, at)) => {
                let (cell, caller) = (at.map(|at| at.cell), at.map_or(0, Position::raw_frame));
                Self::of(stage, Counted { cell, caller, ..Counted::default() }, site)
            }
            None => Self::off(),
        }
    }

    #[inline]
    fn of(stage: Stage, Counted { cell, caller, key, occurrence }: Counted, site: &'static Site) -> Self {
        Self { stage: ManuallyDrop::new(stage), occurrence, cell, frame: caller, key, site: Some(site) }
    }

    #[inline]
    fn is_off(&self) -> bool {
        matches!(*self.stage, Stage::Off)
    }

    /// The call, if it was counted as a common one, has no values, and did not begin yet.
    #[inline]
    fn counted(&self) -> Option<(&'static Site, Counted)> {
        let (Stage::Called, Some(site)) = (&*self.stage, self.site) else { return None };
        let call = Counted { cell: self.cell, caller: self.frame, key: self.key, occurrence: self.occurrence };
        Some((site, call))
    }

    /// Where the call was made; when running, the frame.
    fn at(&self) -> Option<Position> {
        Position::of(self.cell, self.frame)
    }

    /// Begins at the first poll, if it is recorded; the thread stays where it is.
    #[cold]
    #[inline(never)]
    fn begin(&mut self) {
        let at = self.at();
        let Self { stage, occurrence, key, site, .. } = std::mem::replace(self, Self::off());
        let call = at.map(|at| Call { parent: at.frame, key, occurrence, tag: Tag::enter(false) });
        let called = match ManuallyDrop::into_inner(stage) {
            Stage::Called => Some(Called { call, given: false, values: Recorded::none() }),
            Stage::CalledWith(values) => Some(Called { call, given: false, values }),
            Stage::CalledElsewhere(called) => Some(*called),
            _ => None,
        };
        let began = called.zip(site).and_then(|(called, site)| called.begin(site, at));
        if let Some((at, panicking)) = began {
            self.stage = ManuallyDrop::new(Stage::running(panicking));
            (self.cell, self.frame) = (Some(at.cell), at.raw_frame());
        }
    }
}

/// The usual call: calls nothing.
#[inline(never)]
fn count(hot: &Hot, site: &'static Site) -> Option<Number> {
    hot.count::<true>(site).or_else(|| count_again(hot, site))
}

/// Less usual calls.
#[inline(never)]
fn count_again(hot: &Hot, site: &'static Site) -> Option<Number> {
    hot.count::<false>(site)
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
        let Some(at) = super::frame::position(scope, context) else { return Some((Stage::called(values), None)) };
        let given = context.is_some() && !scope.is_here(at);
        // A line that cannot be had now is not pinned either; the call then begins wherever it is polled.
        let call = scope.call_later(at, site);
        let at = call.is_some().then_some(at);
        Some((Stage::CalledElsewhere(Box::new(Called { call, given, values })), at))
    });
    called.flatten()
}

impl Called {
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
fn drop_recorded<F>(mut future: Pin<&mut Option<F>>, state: &mut State) {
    let at = state.at();
    let stage = ManuallyDrop::into_inner(std::mem::replace(state, State::off()).stage);
    let Some(at) = at else { return };
    if let Stage::Running | Stage::RunningInPanic = stage {
        let panicking = matches!(stage, Stage::RunningInPanic);
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
        if self.state.is_off() {
            return there(self.project().future).poll(cx);
        }
        poll_recorded(self, cx)
    }
}

#[inline]
fn there<F>(future: Pin<&mut Option<F>>) -> Pin<&mut F> {
    future.as_pin_mut().expect("it is dropped with the call only")
}

#[inline(never)]
fn poll_recorded<F: Future, J: Fn(&F::Output) -> Outcome>(
    traced: Pin<&mut Traced<F, J>>,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let traced = traced.project();
    let mut away = Away(None);
    // Looks at the thread-local that are in one function become one.
    hot::with(|hot| enter(hot, traced.state, &mut away));
    let poll = Polled { state: traced.state, away: &away };
    let polled = there(traced.future).poll(cx);
    match &polled {
        Poll::Ready(output) if !poll.state.is_off() => end(poll.state, &away, (traced.judge)(output)),
        _ => hot::with(|hot| leave(hot, poll.state, &away)),
    }
    std::mem::forget(poll);
    polled
}

/// Where the thread was before a poll, if that was not in the line of the frame.
struct Away(Option<Stay>);

/// One poll: whatever unwinds out of it ends the frame as a panic.
struct Polled<'a> {
    state: &'a mut State,
    away: &'a Away,
}

impl Drop for Polled<'_> {
    // In line, so that what it looks at needs no place in memory.
    #[inline]
    fn drop(&mut self) {
        hot::with(|hot| unwind(hot, self.state, self.away));
    }
}

// None of these is generic: they are compiled once. The usual of each calls nothing.

/// Goes to the frame; enters it if it was not.
#[inline(never)]
fn enter(hot: &Hot, state: &mut State, away: &mut Away) {
    match *state.stage {
        Stage::Running | Stage::RunningInPanic => go(hot, state, away),
        _ => begin_first(hot, state, away),
    }
}

#[inline]
fn go(hot: &Hot, state: &mut State, away: &mut Away) {
    match hot.go(state.cell, state.frame) {
        Some(before) => state.key = before,
        None => go_away(state, away),
    }
}

#[inline(never)]
fn go_away(state: &mut State, away: &mut Away) {
    match state.at().map(Stay::elsewhere) {
        Some(Stay { home: Home::Here(before), .. }) => state.key = before,
        stay => away.0 = stay,
    }
}

#[inline(never)]
fn begin_first(hot: &Hot, state: &mut State, away: &mut Away) {
    if std::thread::panicking() {
        begin(hot, state, away);
    } else {
        begin_usual(hot, state, away);
    }
}

#[inline(never)]
fn begin_usual(hot: &Hot, state: &mut State, away: &mut Away) {
    if begin_as::<true>(hot, state).is_none() {
        begin(hot, state, away);
    }
}

/// Enters the frame as a common call.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is most of the function that calls it")]
fn begin_as<const USUAL: bool>(hot: &Hot, state: &mut State) -> Option<()> {
    let (site, call) = state.counted()?;
    state.frame = hot.enter_counted::<USUAL>(site, call)?;
    state.key = call.caller;
    state.stage = ManuallyDrop::new(Stage::running(!USUAL && std::thread::panicking()));
    Some(())
}

/// Less usual beginnings.
#[inline(never)]
fn begin(hot: &Hot, state: &mut State, away: &mut Away) {
    let is_counted = state.counted().is_some_and(|(_, call)| call.cell.is_some());
    if is_counted && common(|| begin_as::<false>(hot, state)).is_some() {
        return;
    }
    state.begin();
    if !state.is_off() {
        go(hot, state, away);
    }
}

/// Goes back to where the thread was.
#[inline(never)]
fn leave(hot: &Hot, state: &State, away: &Away) {
    if away.0.is_some() || hot.go(state.cell, state.key).is_none() {
        leave_otherwise(state, away);
    }
}

#[inline(never)]
fn leave_otherwise(state: &State, away: &Away) {
    // Without a line, nothing was recorded, and the thread went nowhere.
    if state.cell.is_some() {
        away.0.unwrap_or(Stay { cell: state.cell, home: Home::Here(state.key) }).leave();
    }
}

/// Ends the frame, and goes back.
#[inline]
fn end(state: &mut State, away: &Away, outcome: Outcome) {
    if outcome.is_plain() {
        // Nothing is in it to be dropped.
        std::mem::forget(outcome);
        hot::with(|hot| end_well(hot, state, away));
    } else {
        end_with(state, away, outcome);
    }
}

#[inline(never)]
fn end_with(state: &mut State, away: &Away, outcome: Outcome) {
    hot::with(|hot| finish(hot, state, away, End::of(outcome)));
}

#[inline(never)]
fn end_well(hot: &Hot, state: &mut State, away: &Away) {
    if !end_as::<true>(hot, state, away) {
        end_again(hot, state, away);
    }
}

/// Less usual ends.
#[inline(never)]
fn end_again(hot: &Hot, state: &mut State, away: &Away) {
    if !end_as::<false>(hot, state, away) {
        finish(hot, state, away, End::plain());
    }
}

/// Ends the frame as a common call.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is most of the function that calls it")]
fn end_as<const USUAL: bool>(hot: &Hot, state: &mut State, away: &Away) -> bool {
    let ended = away.0.is_none() && hot.end::<USUAL>(state.cell, state.frame, state.key);
    if ended {
        state.stage = ManuallyDrop::new(Stage::Off);
    }
    ended
}

#[inline(never)]
fn finish(hot: &Hot, state: &mut State, away: &Away, end: End) {
    // Where it goes back to stays.
    state.stage = ManuallyDrop::new(Stage::Off);
    let _leaves = Leaves { hot, state, away };
    if let Some(at) = state.at() {
        scope::with(|scope| scope.end(at, end));
    }
}

/// Goes back when it is dropped, though a clock of the user's panics.
struct Leaves<'a> {
    hot: &'a Hot,
    state: &'a State,
    away: &'a Away,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        leave(self.hot, self.state, self.away);
    }
}

#[cold]
#[inline(never)]
fn unwind(hot: &Hot, state: &mut State, away: &Away) {
    if !state.is_off() {
        let panicking = matches!(*state.stage, Stage::RunningInPanic);
        let end = End::dropped(state.at(), panicking, Some(ErrorKind::Cancelled));
        finish(hot, state, away, end);
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
