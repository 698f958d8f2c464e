//! What a thread is in the midst of: the lines it holds, the position it is at, and its ways into the recorders.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cell::{self, Cell, Mail};
use super::hot;
use super::line::{Call, Departure, End, Entered, Line, Opened};
use super::thread::this_thread;
use super::trace::{Source, ThreadLane, Trace};
use crate::execution::Attempt;
use crate::id::{FrameId, TraceId};
use crate::record::Cause;
use crate::recorder::Detail;
use crate::site::{Site, Start};
use crate::sync::MutexGuard;
use crate::tracer::Tracer;

/// A place in a line: after its beginning, or in one of its frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) cell: &'static Cell,
    pub(crate) frame: Option<FrameId>,
}

impl Position {
    /// The place of the frame with this number, 0 for none.
    pub(super) fn of(cell: Option<&'static Cell>, frame: u64) -> Option<Self> {
        Some(Self { cell: cell?, frame: FrameId::from_raw(frame) })
    }

    /// The number of the frame; 0 for none.
    #[inline]
    pub(super) fn raw_frame(self) -> u64 {
        self.frame.map_or(0, FrameId::raw)
    }

    /// Whether both lie in one trace.
    pub(crate) fn same_trace(self, other: Self) -> bool {
        std::ptr::eq(self.cell, other.cell)
            || self.cell.trace().is_some_and(|trace| other.cell.trace().is_some_and(|other| other.id == trace.id))
    }
}

/// A line that this thread holds.
#[derive(Debug)]
struct Held {
    cell: &'static Cell,
    line: MutexGuard<'static, Line>,
    /// Where the way into its tracer was found last.
    lane: usize,
}

#[derive(Debug)]
pub(crate) struct Scope {
    /// Outermost first.
    held: Vec<Held>,
    here: Option<Position>,
    lanes: Vec<ThreadLane>,
    free_cells: Vec<&'static Cell>,
    free_traces: Vec<Arc<Trace>>,
    /// Tracers given to this thread by tests, innermost last, and where the thread was before.
    given: Vec<(Tracer, Option<Position>)>,
    global: Option<(u64, Tracer)>,
    /// This thread works for a recorder: what it calls is not recorded.
    untraced: bool,
    /// Where the last panic of this thread came up and what it said, until a frame ends by it.
    panic: Option<(Position, String)>,
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::new()) };
}

/// Calls lost because they came from inside a recorder or a clock, or from a thread that is already taken down.
static UNREACHABLE: AtomicU64 = AtomicU64::new(0);

/// Calls that no scope could take.
pub(crate) fn unreachable_calls() -> u64 {
    UNREACHABLE.load(Ordering::Relaxed)
}

/// Cells that no thread keeps.
static FREE_CELLS: Mutex<Vec<&'static Cell>> = Mutex::new(Vec::new());

pub(crate) type FreeCells = std::sync::MutexGuard<'static, Vec<&'static Cell>>;

/// While it lives, nobody takes or gives any.
pub(crate) fn hold_cells() -> FreeCells {
    FREE_CELLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cells and traces that a thread keeps for reuse.
const FREE_MAX: usize = 64;

/// How a call at a position turned out.
pub(crate) struct Opening {
    pub(crate) at: Position,
    /// The caller of `enter` must let go of the line.
    pub(crate) holds: bool,
    /// What it must panic with, once it is out of the scope.
    pub(crate) violation: Option<String>,
}

/// Runs `work` in this thread's scope; `None` if there is none to be had.
#[inline]
pub(crate) fn with<R>(work: impl FnOnce(&mut Scope) -> R) -> Option<R> {
    with_run(false, work)
}

/// Likewise, for ends, without which a trace would never be over: they come also while the thread is taken down and has
/// no scope any more.
pub(crate) fn with_at_last(work: impl FnOnce(&mut Scope)) {
    if SCOPE.try_with(|_| ()).is_ok() {
        with(work);
    } else {
        work(&mut Scope::new());
    }
}

/// Makes the next common calls possible, which only want for a run.
#[cold]
#[inline(never)]
pub(super) fn begin_run() {
    with_run(true, |_| {});
}

#[inline]
fn with_run<R>(run: bool, work: impl FnOnce(&mut Scope) -> R) -> Option<R> {
    let done = SCOPE.try_with(|scope| {
        let mut scope = scope.try_borrow_mut().ok()?;
        scope.recall();
        let done = work(&mut scope);
        scope.lend(run);
        Some(done)
    });
    let done = done.ok().flatten();
    if done.is_none() {
        UNREACHABLE.fetch_add(1, Ordering::Relaxed);
    }
    done
}

impl Scope {
    pub(super) const fn new() -> Self {
        Self {
            held: Vec::new(),
            here: None,
            lanes: Vec::new(),
            free_cells: Vec::new(),
            free_traces: Vec::new(),
            given: Vec::new(),
            global: None,
            untraced: false,
            panic: None,
        }
    }

    /// Lends what the next calls need if they are common: by a frame of the line that is held last. Begins a run for
    /// them if asked to.
    fn lend(&mut self, run: bool) {
        let Some(here) = self.here.filter(|_| !self.untraced) else { return };
        let Some(held) = self.held.last_mut().filter(|held| std::ptr::eq(held.cell, here.cell)) else { return };
        let (Some(trace), Some(block)) = (held.line.trace(), held.line.block()) else { return };
        let Some(place) = self.lanes.iter().position(|lane| lane.tracer == trace.tracer) else { return };
        held.line.number_apart();
        let Some(out) = self.lanes[place].lend(&mut held.line, block, run) else { return };
        held.lane = place;
        hot::lend(&hot::Lent { cell: held.cell, block, frame: here.frame, out });
    }

    /// Takes back what was lent, and learns what happened meanwhile.
    fn recall(&mut self) {
        let Some(back) = hot::take_back() else { return };
        self.here = Some(back.at);
        if let (Some(held), Some(next)) = (self.held.last_mut(), back.next) {
            if let Some(seq) = self.lanes[held.lane].take_back(next) {
                held.line.passed(seq);
            }
        }
    }

    pub(crate) fn is_untraced(&self) -> bool {
        self.untraced
    }

    pub(crate) fn set_untraced(&mut self, untraced: bool) -> bool {
        std::mem::replace(&mut self.untraced, untraced)
    }

    #[inline]
    pub(crate) fn here(&self) -> Option<Position> {
        self.here
    }

    /// Whether this thread is at `at`.
    pub(crate) fn is_here(&self, at: Position) -> bool {
        self.here.is_some_and(|here| std::ptr::eq(here.cell, at.cell) && here.frame == at.frame)
    }

    /// Goes to `to`; gives where it was.
    #[inline]
    pub(crate) fn go(&mut self, to: Option<Position>) -> Option<Position> {
        std::mem::replace(&mut self.here, to)
    }

    /// The tracer that new traces of this thread go to.
    pub(crate) fn tracer(&mut self) -> Tracer {
        if let Some((given, _)) = self.given.last() {
            return given.clone();
        }
        let version = Tracer::global_version();
        match &self.global {
            Some((seen, tracer)) if *seen == version => tracer.clone(),
            _ => {
                let tracer = Tracer::global();
                self.global = Some((version, tracer.clone()));
                tracer
            }
        }
    }

    /// Begins new traces in `tracer` from now on, and nothing in the trace that the thread is in.
    pub(crate) fn give(&mut self, tracer: Tracer) {
        let before = self.go(None);
        self.given.push((tracer, before));
    }

    /// Takes back what [`give`](Self::give) gave, and all that leads to it.
    pub(crate) fn take_back(&mut self) {
        if let Some((tracer, before)) = self.given.pop() {
            self.go(before);
            self.lanes.retain(|lane| lane.tracer != tracer);
            self.free_traces.retain(|trace| trace.tracer != tracer);
        }
    }

    /// The tracers that this thread has recorded into.
    pub(crate) fn tracers(&self) -> Vec<Tracer> {
        self.lanes.iter().map(|lane| lane.tracer.clone()).collect()
    }

    /// Runs `work` with this thread's way into `tracer`.
    pub(crate) fn output<R>(&mut self, tracer: &Tracer, work: impl FnOnce(&mut ThreadLane) -> R) -> R {
        let place = lane_of(&mut self.lanes, tracer);
        work(&mut self.lanes[place])
    }

    #[inline]
    fn place_of(&self, cell: &'static Cell) -> Option<usize> {
        // Nearly always the innermost.
        let last = self.held.len().checked_sub(1)?;
        if std::ptr::eq(self.held[last].cell, cell) {
            return Some(last);
        }
        self.held.iter().rposition(|held| std::ptr::eq(held.cell, cell))
    }

    /// Holds the line of `cell` from now on, if it can be had. `true`: this call took it, so
    /// [`let_go`](Self::let_go) must follow.
    pub(crate) fn hold(&mut self, cell: &'static Cell) -> Option<bool> {
        if self.place_of(cell).is_some() {
            return Some(false);
        }
        let mut line = cell.try_lock()?;
        if line.is_handed_to(this_thread()) {
            // Whatever the other thread did there, a reader of what this one writes has not seen it.
            self.lanes.iter_mut().for_each(ThreadLane::end_run);
        }
        self.held.push(Held { cell, line, lane: 0 });
        Some(true)
    }

    /// Runs `work` with the line of `cell`, which this thread holds.
    #[inline]
    fn in_line<R>(
        &mut self,
        place: usize,
        work: impl FnOnce(&mut Line, &'static Cell, &mut ThreadLane) -> R,
    ) -> Option<R> {
        let Held { cell, line, lane } = &mut self.held[place];
        *lane = lane_of(&mut self.lanes, &line.trace()?.tracer);
        line.number_apart();
        Some(work(line, cell, &mut self.lanes[*lane]))
    }

    /// Runs `work` with the line of `cell`; `None` if another thread holds it or it is out of use.
    pub(crate) fn with_line<R>(
        &mut self,
        cell: &'static Cell,
        work: impl FnOnce(&mut Line, &'static Cell, &mut ThreadLane) -> R,
    ) -> Option<R> {
        let took = self.hold(cell)?;
        let place = self.place_of(cell)?;
        let done = self.in_line(place, work);
        if took {
            self.let_go(cell);
        }
        done
    }

    /// Lets go of a line that [`hold`](Self::hold) took, reads its mail, and closes it if it is over.
    pub(crate) fn let_go(&mut self, cell: &'static Cell) {
        loop {
            let Some(place) = self.place_of(cell) else { return };
            for mail in if cell.has_mail() { cell.take_mail() } else { Vec::new() } {
                self.in_line(place, |line, _, out| match mail {
                    Mail::End(frame, end) => line.end(frame, end, out),
                    Mail::Unpin => line.unpin(),
                });
            }
            let line = &self.held[place].line;
            // Whoever left word tries the lock too, and may find that the mail was read and the line closed since.
            if line.is_over() && line.trace().is_some() {
                self.close(place);
                return;
            }
            self.held.remove(place);
            // Mail may have come after the look above and before the lock was given back.
            if !cell.has_mail() || self.hold(cell) != Some(true) {
                return;
            }
        }
    }

    fn close(&mut self, place: usize) {
        let Held { cell, mut line, .. } = self.held.remove(place);
        // Caught in this line, whose cell will be another's.
        self.panic = None;
        let seq = line.seq();
        if let Some(trace) = cell.close(&mut line) {
            self.release(trace, seq);
        }
        drop(line);
        if self.free_cells.len() < FREE_MAX {
            self.free_cells.push(cell);
        } else {
            hold_cells().push(cell);
        }
    }

    /// Lets go of a trace; the last one says that it is over.
    pub(crate) fn release(&mut self, mut trace: Arc<Trace>, after: u64) {
        if trace.release() {
            let (id, stepped) = (trace.id, trace.is_stepped());
            self.output(&trace.tracer, |out| out.over(id, stepped, after));
        }
        let alone = Arc::strong_count(&trace) == 1 && Arc::weak_count(&trace) == 0;
        if alone && self.free_traces.len() < FREE_MAX {
            if trace.attempt.is_some() {
                // It would keep its store.
                Arc::get_mut(&mut trace).map(|alone| alone.attempt.take());
            }
            self.free_traces.push(trace);
        }
    }

    /// A trace without any env yet.
    pub(crate) fn new_trace(&mut self, source: Source) -> Arc<Trace> {
        let tracer = self.tracer();
        let renewed = self.renewed(&tracer, |trace| trace.renew(source.clone()));
        renewed.unwrap_or_else(|| Arc::new(Trace::new(tracer, source)))
    }

    /// Likewise, of an attempt, whose id was known before.
    pub(crate) fn new_trace_of(&mut self, attempt: &Arc<Attempt>, id: TraceId, source: &str) -> Arc<Trace> {
        let tracer = self.tracer();
        let renewed = self.renewed(&tracer, |trace| trace.renew_for(attempt.clone(), id, source));
        renewed.unwrap_or_else(|| Arc::new(Trace::of_attempt(attempt.clone(), id, tracer, source)))
    }

    /// A trace of `tracer` that is over and that nobody has any more, made a new one.
    fn renewed(&mut self, tracer: &Tracer, renew: impl FnOnce(&mut Trace)) -> Option<Arc<Trace>> {
        let mut trace = self.free_traces.pop()?;
        renew(Arc::get_mut(&mut trace).filter(|alone| alone.tracer == *tracer)?);
        Some(trace)
    }

    /// A cell that is not in use, and its lock.
    fn free_cell(&mut self) -> (&'static Cell, MutexGuard<'static, Line>) {
        loop {
            let shared = || hold_cells().pop();
            let cell = self.free_cells.pop().or_else(shared).unwrap_or_else(|| Box::leak(Box::default()));
            // Held for a moment by somebody who left word there and came late: it stays out of use.
            if let Some(line) = cell.try_lock() {
                return (cell, line);
            }
        }
    }

    /// A line for the env that leaves as `departure`, held.
    pub(crate) fn begin(&mut self, departure: Departure) -> Option<&'static Cell> {
        let trace = departure.trace.clone()?;
        Some(self.begin_as(&trace, |line, cell, out| {
            line.begin(departure, out);
            cell.open(line);
        }))
    }

    /// A line for an env that was recorded already, held.
    pub(crate) fn begin_opened(&mut self, trace: &Arc<Trace>, env: Opened) -> &'static Cell {
        self.begin_as(trace, |line, cell, _| cell::adopt(cell, line, trace.clone(), env))
    }

    fn begin_as(
        &mut self,
        trace: &Arc<Trace>,
        begin: impl FnOnce(&mut Line, &'static Cell, &mut ThreadLane),
    ) -> &'static Cell {
        let (cell, mut line) = self.free_cell();
        line.is_handed_to(this_thread());
        trace.hold();
        let lane = lane_of(&mut self.lanes, &trace.tracer);
        begin(&mut line, cell, &mut self.lanes[lane]);
        self.held.push(Held { cell, line, lane });
        cell
    }

    fn begin_trace(&mut self, site: &'static Site) -> Option<&'static Cell> {
        super::panics::watch();
        let trace = self.new_trace(Source::Site(site));
        self.begin(Departure::root(trace))
    }

    /// Counts the call of `site` at `at` before it begins, and pins the line until then. `None`: its line is in use
    /// elsewhere, and nothing was done.
    pub(crate) fn call_later(&mut self, at: Position, site: &'static Site) -> Option<Call> {
        let node = site.id().node;
        self.with_line(at.cell, |line, cell, _| {
            line.pin();
            line.call_later(at.frame, site, node, || cell.call_at_base(node).1)
        })
    }

    /// Enters `site` at `at`, or in a new trace; goes there.
    #[cold]
    pub(crate) fn enter(
        &mut self,
        at: Option<Position>,
        call: Option<Call>,
        site: &'static Site,
        detail: Option<Box<Detail>>,
    ) -> Option<Opening> {
        let opening = match (at, site.start) {
            (Some(at), Start::Call) => self.enter_line(at, call, site, detail),
            (Some(at), Start::Fork) => {
                let departure = self.fork(at)?;
                let cell = self.begin(departure)?;
                self.enter_first(cell, None, site, detail)
            }
            (None, _) | (_, Start::Root) => {
                let cell = self.begin_trace(site)?;
                self.enter_first(cell, None, site, detail)
            }
        }?;
        self.here = Some(opening.at);
        Some(opening)
    }

    fn enter_line(
        &mut self,
        at: Position,
        call: Option<Call>,
        site: &'static Site,
        detail: Option<Box<Detail>>,
    ) -> Option<Opening> {
        let Some(holds) = self.hold(at.cell) else { return self.visit(at, call, site, detail) };
        let place = self.place_of(at.cell)?;
        let id = site.id();
        let mut detail = detail;
        let entered = self.in_line(place, |line, cell, out| {
            let later = call.is_some();
            let call = call.unwrap_or_else(|| line.call(at.frame, site, id.node, || cell.call_at_base(id.node).1));
            line.enter(at.frame, call, later, site, id, &mut detail, out)
        })?;
        match entered {
            Entered::Here(frame) => Some(self.opening(at.cell, frame, holds)),
            Entered::Nowhere => None,
            Entered::Elsewhere(elsewhere) => {
                let (departure, call) = *elsewhere;
                let cell = self.begin(departure)?;
                let opening = self.enter_first(cell, Some(call), site, detail);
                if holds {
                    self.let_go(at.cell);
                }
                opening
            }
        }
    }

    fn opening(&mut self, cell: &'static Cell, frame: FrameId, holds: bool) -> Opening {
        let place = self.held.last().map_or(0, |held| held.lane);
        let violation = self.lanes.get_mut(place).and_then(ThreadLane::take_violation);
        Opening { at: Position { cell, frame: Some(frame) }, holds, violation }
    }

    /// Enters at a line that another thread holds: in an env beside it.
    #[cold]
    fn visit(
        &mut self,
        at: Position,
        call: Option<Call>,
        site: &'static Site,
        detail: Option<Box<Detail>>,
    ) -> Option<Opening> {
        let call = call.unwrap_or_else(|| visiting_call(at, site));
        let departure = at.cell.departure(Cause::Overlap)?;
        let cell = self.begin(departure)?;
        self.enter_first(cell, Some(call), site, detail)
    }

    fn enter_first(
        &mut self,
        cell: &'static Cell,
        call: Option<Call>,
        site: &'static Site,
        detail: Option<Box<Detail>>,
    ) -> Option<Opening> {
        let place = self.place_of(cell)?;
        let id = site.id();
        let frame = self.in_line(place, |line, cell, out| {
            let call = call.unwrap_or_else(|| line.call(None, site, id.node, || cell.call_at_base(id.node).1));
            line.enter_first(call, site, id, detail, out)
        })??;
        Some(self.opening(cell, frame, true))
    }

    pub(crate) fn keep_panic(&mut self, text: String) {
        // Outside of every trace it ends no frame; one that was there before it does not either.
        self.panic = self.here.map(|here| (here, text));
    }

    /// What the panic said that ends a frame at `at` now; the frames around it end by the same one.
    pub(crate) fn take_panic(&mut self, at: Position) -> Option<String> {
        let (from, text) = self.panic.take()?;
        // One that was caught elsewhere, while this unwinds without a hook having run (`resume_unwind`).
        let ours = from.frame.is_none() || std::ptr::eq(from.cell, at.cell);
        (ours && !text.is_empty()).then_some(text)
    }

    /// Ends every frame of the lines held, the innermost first: the thread will not come back.
    pub(crate) fn end_all(&mut self) {
        for place in (0..self.held.len()).rev() {
            while let Some(frame) = self.held[place].line.innermost() {
                let at = Position { cell: self.held[place].cell, frame: Some(frame) };
                let end = End::panicked(self.take_panic(at));
                self.in_line(place, |line, _, out| line.end(frame, end, out));
            }
        }
    }

    /// Ends a frame, or leaves word that it ended.
    #[inline]
    pub(crate) fn end(&mut self, at: Position, end: End) {
        let Some(frame) = at.frame else { return };
        if let Some(place) = self.place_of(at.cell) {
            self.in_line(place, |line, _, out| line.end(frame, end, out));
        } else {
            self.tell(at.cell, Mail::End(frame, end));
        }
    }

    pub(crate) fn pin(&mut self, cell: &'static Cell) -> bool {
        self.with_line(cell, |line, _, _| line.pin()).is_some()
    }

    pub(crate) fn unpin(&mut self, cell: &'static Cell) {
        if let Some(place) = self.place_of(cell) {
            self.in_line(place, |line, _, _| line.unpin());
        } else {
            self.tell(cell, Mail::Unpin);
        }
    }

    fn tell(&mut self, cell: &'static Cell, mail: Mail) {
        cell.post(mail);
        if self.hold(cell) == Some(true) {
            self.let_go(cell);
        }
    }

    /// Leaves `at` for a fork.
    pub(crate) fn fork(&mut self, at: Position) -> Option<Departure> {
        let forked = self.with_line(at.cell, |line, cell, _| line.fork(at.frame, || cell.next_fork()));
        forked.or_else(|| {
            let fork = at.cell.base().fork(at.cell.next_fork());
            Some(Departure { fork: Some(fork), ..at.cell.departure(Cause::Fork)? })
        })
    }
}

/// The call of `site` by a frame whose line another thread holds.
#[cold]
pub(crate) fn visiting_call(at: Position, site: &'static Site) -> Call {
    match at.frame {
        None => {
            let (base, occurrence) = at.cell.call_at_base(site.id().node);
            base.call(site, occurrence)
        }
        Some(frame) => {
            let occurrence = at.cell.visit();
            Call::by(Some(frame), frame.raw(), site, occurrence)
        }
    }
}

/// The place of this thread's way into `tracer`, made if there is none.
#[inline]
fn lane_of(lanes: &mut Vec<ThreadLane>, tracer: &Tracer) -> usize {
    match lanes.iter().position(|lane| lane.tracer == *tracer) {
        Some(place) => place,
        None => new_lane(lanes, tracer),
    }
}

#[cold]
fn new_lane(lanes: &mut Vec<ThreadLane>, tracer: &Tracer) -> usize {
    lanes.retain(|lane| !lane.tracer.is_abandoned());
    lanes.push(ThreadLane::new(tracer.clone()));
    lanes.len() - 1
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.recall();
        hold_cells().append(&mut self.free_cells);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SITE: Site = Site::new("node", module_path!(), file!(), line!());

    /// A thread that left word for the holder tries the lock once more. If the holder has closed the line by then,
    /// closing it again would put the cell in use for two lines at once.
    #[test]
    fn a_line_is_closed_once() {
        with(|scope| {
            scope.give(Tracer::builder().build());
            let opening = scope.enter(None, None, &SITE, None).unwrap();
            let cell = opening.at.cell;
            scope.end(opening.at, End { error: None, detail: None });
            scope.let_go(cell);
            let free = scope.free_cells.len();
            assert!(scope.free_cells.iter().any(|free| std::ptr::eq(*free, cell)));
            assert_eq!(scope.hold(cell), Some(true));
            scope.let_go(cell);
            assert_eq!(scope.free_cells.len(), free);
            scope.take_back();
        })
        .unwrap();
    }
}
