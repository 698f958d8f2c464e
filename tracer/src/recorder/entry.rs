//! One fact in eight words: what the hot path writes, and what it reads as.

use std::sync::Arc;

use crate::id::{EnvId, FrameId, TraceId};
use crate::outcome::Failure;
use crate::record::{Cause, ErrorKind};
use crate::status::Status;
use crate::values::Captured;

/// A fact in 64 bytes. Ticks and numbers of this process: it means nothing elsewhere.
///
/// | word | step | env | note | trace over, resumed |
/// |---|---|---|---|---|
/// | 0 | seq « 16 + tag | seq « 16 + tag | seq « 16 + tag | seq « 16 + tag |
/// | 1 | ticks | ticks | ticks | – |
/// | 2 | env | env | env | –, env |
/// | 3 | step « 20 + site | parent step « 20 + site | step « 20 + site | – |
/// | 4 | frame | trace, high half | frame | trace, high half |
/// | 5 | parent frame | trace, low half | from « 32 + site | trace, low half |
/// | 6 | key; by hand the step that entered | parent env | – | – |
/// | 7 | occurrence | fork number | – | – |
///
/// The tag, from its lowest bit:
///
/// | bits | step | env | note | trace over |
/// |---|---|---|---|---|
/// | 4 | kind: 1 step, 2 env, 3 note, 4 over, 5 resumed, 11 env once more; others are a [page](super::page)'s | | | |
/// | 3 | status: 0 enter, 1 exit, 2 error | cause | 0 unwound, 1 flow violation | 1: it took a step |
/// | 2 | error: 1 err, 2 panic, 3 cancelled | – | error | – |
/// | 1 | resumed | its payload is not there | – | – |
/// | 1 | made in a forked env by no frame of it | the first of its trace, or goes on with that by recoveries | – | – |
/// | 1 | a detail belongs to it | likewise | – | – |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry(pub(crate) [u64; 8]);

/// What does not fit into an entry.
#[derive(Debug, Clone, Default)]
pub struct Detail {
    /// The node's name, where it is not a site's.
    pub(crate) node: Option<Arc<str>>,
    /// The trace and its source, where no site names it.
    pub(crate) trace: Option<(TraceId, Arc<str>)>,
    /// Payload of an env or meta of a manual step.
    pub(crate) meta: Option<Captured>,
    /// Recorded arguments or result.
    pub(crate) values: Option<Captured>,
    pub(crate) failure: Option<Failure>,
}

impl Detail {
    /// Bytes that it takes, roughly.
    pub(crate) fn size(&self) -> usize {
        let captured = |value: &Option<Captured>| value.as_ref().map_or(0, |value| value.as_bytes().len());
        let failure = self.failure.as_ref().map_or(0, |failure| {
            failure.message.as_ref().map_or(0, String::len)
                + failure.chain.iter().map(|text| text.len() + 24).sum::<usize>()
        });
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Self>()
            + captured(&self.meta)
            + captured(&self.values)
            + failure
            + text(&self.node)
            + self.trace.as_ref().map_or(0, |(_, source)| source.len())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepEvent {
    pub(crate) ticks: u64,
    pub(crate) seq: u64,
    pub(crate) env: EnvId,
    pub(crate) step: u64,
    pub(crate) site: u32,
    pub(crate) frame: Option<FrameId>,
    pub(crate) parent: Option<FrameId>,
    pub(crate) key: u64,
    pub(crate) occurrence: u32,
    pub(crate) status: Status,
    pub(crate) resumed: bool,
    /// The call was made in a forked env by no frame of it, so its key goes through the fork.
    pub(crate) through_fork: bool,
    pub(crate) error: Option<ErrorKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EnvEvent {
    pub(crate) ticks: u64,
    pub(crate) seq: u64,
    pub(crate) env: EnvId,
    pub(crate) trace: TraceId,
    pub(crate) cause: Cause,
    pub(crate) parent: Option<(EnvId, u64)>,
    /// Whose node or source names the trace; 0 if the detail does.
    pub(crate) site: u32,
    /// Which fork of its frame it is, from 0.
    pub(crate) fork: u64,
    /// It is the first of its trace, or goes on with that by recoveries alone.
    pub(crate) is_main: bool,
    /// It has a payload, which does not stand with this.
    pub(crate) lacks_payload: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoteEvent {
    pub(crate) ticks: u64,
    pub(crate) seq: u64,
    pub(crate) env: EnvId,
    pub(crate) step: u64,
    pub(crate) site: u32,
    pub(crate) kind: NoteKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoteKind {
    Unwound {
        frame: FrameId,
        error: ErrorKind,
    },
    /// The row of the node before, in the flow of the entered site.
    FlowViolation {
        from: Option<u16>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Env(EnvEvent),
    Step(StepEvent),
    Note(NoteEvent),
    /// Nothing of the trace is open any more, and no context points to it. Without any step so far, a token of it
    /// may still be on its way.
    Over {
        trace: TraceId,
        stepped: bool,
        seq: u64,
    },
    /// A context came back, maybe of a trace that was over.
    Resumed {
        trace: TraceId,
        env: EnvId,
        seq: u64,
    },
}

/// The kind in a tag.
pub(super) const KIND_MASK: u16 = 15;
const KIND_STEP: u16 = 1;
const KIND_ENV: u16 = 2;
const KIND_NOTE: u16 = 3;
const KIND_OVER: u16 = 4;
pub(super) const KIND_RESUMED: u16 = 5;
const KIND_AGAIN: u16 = 11;
/// What the kind makes of the next three bits: a status, a cause, a note.
const WHAT_SHIFT: u32 = 4;
const WHAT_MASK: u16 = 7;
const ERROR_SHIFT: u32 = 7;
const ERROR_MASK: u16 = 3;
const RESUMED: u16 = 1 << 9;
const LACKS_PAYLOAD: u16 = 1 << 9;
const MAIN: u16 = 1 << 10;
const THROUGH_FORK: u16 = 1 << 10;
const DETAIL: u16 = 1 << 11;
/// A number takes the other 48 bits: at a record each 10 ns they last a month.
pub(super) const TAG_BITS: u32 = 16;
const SITE_BITS: u32 = 20;
const SITE_MASK: u64 = (1 << SITE_BITS) - 1;

pub(crate) const fn step_and_site(step: u64, site: u32) -> u64 {
    (step << SITE_BITS) | (site as u64 & SITE_MASK)
}

/// The first word of an entry without its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(u16);

impl Tag {
    /// For an enter.
    #[inline]
    pub(crate) const fn enter(through_fork: bool) -> Self {
        Self(if through_fork { KIND_STEP | THROUGH_FORK } else { KIND_STEP })
    }

    /// That of a word.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "leaves the number out")]
    pub(crate) const fn of(word: u64) -> Self {
        Self(word as u16)
    }

    /// For the enter of a frame that is open already.
    #[inline]
    pub(crate) const fn again(self) -> Self {
        Self(KIND_STEP | (self.0 & THROUGH_FORK) | RESUMED)
    }

    /// For the end of a call whose enter this is.
    #[inline]
    pub(crate) const fn end(self, error: Option<ErrorKind>) -> Self {
        let call = KIND_STEP | (self.0 & THROUGH_FORK);
        Self(match error {
            None => call | (1 << WHAT_SHIFT),
            Some(kind) => call | (2 << WHAT_SHIFT) | (error_code(kind) << ERROR_SHIFT),
        })
    }

    /// With a number.
    #[inline]
    pub(crate) const fn numbered(self, seq: u64) -> u64 {
        (seq << TAG_BITS) | self.0 as u64
    }

    /// Whether the call was made in a forked env by no frame of it.
    pub(crate) const fn is_through_fork(self) -> bool {
        self.0 & THROUGH_FORK != 0
    }

    const fn kind(self) -> u16 {
        self.0 & KIND_MASK
    }

    const fn what(self) -> u16 {
        (self.0 >> WHAT_SHIFT) & WHAT_MASK
    }
}

impl Entry {
    /// A step of a frame; the ticks and the number are filled in as it is written.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the words of an entry")]
    pub(crate) fn step(
        env: EnvId,
        step: u64,
        site: u32,
        frame: FrameId,
        parent: Option<FrameId>,
        key: u64,
        occurrence: u32,
        tag: Tag,
    ) -> Self {
        let parent = parent.map_or(0, FrameId::raw);
        let step = step_and_site(step, site);
        Self([tag.numbered(0), 0, env.get(), step, frame.raw(), parent, key, u64::from(occurrence)])
    }

    /// A step of the manual API; `entered` is the step that entered its node.
    pub(crate) fn manual(env: EnvId, step: u64, entered: u64, status: Status) -> Self {
        let status = match status {
            Status::Enter => 0,
            Status::Exit => 1,
            Status::Error => 2,
        };
        let tag = Tag(KIND_STEP | (status << WHAT_SHIFT));
        Self([tag.numbered(0), 0, env.get(), step_and_site(step, 0), 0, 0, entered, 0])
    }

    /// Fills in the ticks and the number.
    #[inline]
    pub(crate) fn number(&mut self, ticks: u64, seq: u64) {
        self.0[0] = Tag::of(self.0[0]).numbered(seq);
        self.0[1] = ticks;
    }

    /// Says that a detail belongs to it.
    pub(crate) fn set_detailed(&mut self) {
        self.0[0] |= u64::from(DETAIL);
    }

    /// Whether a detail belongs to it.
    pub fn is_detailed(&self) -> bool {
        self.0[0] & u64::from(DETAIL) != 0
    }

    /// As it stands in memory.
    #[inline]
    pub fn words(&self) -> [u64; 8] {
        self.0
    }

    /// Of what stood in memory.
    pub fn of_words(words: [u64; 8]) -> Self {
        Self(words)
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    pub(crate) fn env(event: &EnvEvent) -> Self {
        let (high, low) = event.trace.halves();
        let (parent, parent_step) = event.parent.map_or((0, 0), |(env, step)| (env.get(), step));
        let cause = Cause::ALL.iter().position(|cause| *cause == event.cause).unwrap_or(0) as u16;
        let flags = if event.lacks_payload { LACKS_PAYLOAD } else { 0 } | if event.is_main { MAIN } else { 0 };
        Self([
            Tag(KIND_ENV | (cause << WHAT_SHIFT) | flags).numbered(event.seq),
            event.ticks,
            event.env.get(),
            step_and_site(parent_step, event.site),
            high,
            low,
            parent,
            event.fork,
        ])
    }

    /// The env once more, for who does not find it where it was recorded.
    pub(crate) fn again(event: &EnvEvent) -> Self {
        let mut entry = Self::env(event);
        entry.0[0] ^= u64::from(KIND_ENV ^ KIND_AGAIN);
        entry
    }

    /// Where this says an env once more, for who does not find it where it was recorded: as it was recorded.
    pub fn as_said_before(mut self) -> Option<Self> {
        let is_again = Tag::of(self.0[0]).kind() == KIND_AGAIN;
        self.0[0] ^= u64::from(KIND_ENV ^ KIND_AGAIN);
        is_again.then_some(self)
    }

    pub(crate) fn note(event: &NoteEvent) -> Self {
        let (note, error, frame, from) = match event.kind {
            NoteKind::Unwound { frame, error } => (0, error_code(error), frame.raw(), 0),
            NoteKind::FlowViolation { from } => (1, 0, 0, from.map_or(0, |row| u64::from(row) + 1)),
        };
        Self([
            Tag(KIND_NOTE | (note << WHAT_SHIFT) | (error << ERROR_SHIFT)).numbered(event.seq),
            event.ticks,
            event.env.get(),
            step_and_site(event.step, event.site),
            frame,
            from,
            0,
            0,
        ])
    }

    pub(crate) fn over(trace: TraceId, stepped: bool, seq: u64) -> Self {
        Self::of_trace(trace, seq, KIND_OVER | (u16::from(stepped) << WHAT_SHIFT))
    }

    pub(crate) fn resumed(trace: TraceId, env: EnvId, seq: u64) -> Self {
        let mut entry = Self::of_trace(trace, seq, KIND_RESUMED);
        entry.0[2] = env.get();
        entry
    }

    fn of_trace(trace: TraceId, seq: u64, tag: u16) -> Self {
        let (high, low) = trace.halves();
        Self([Tag(tag).numbered(seq), 0, 0, 0, high, low, 0, 0])
    }

    /// Whether it is a step: all but a few are.
    #[inline]
    pub(crate) fn is_step(&self) -> bool {
        Tag::of(self.0[0]).kind() == KIND_STEP
    }

    /// The step in the word of step and site.
    #[inline]
    pub(crate) const fn step_in(word: u64) -> u64 {
        word >> SITE_BITS
    }

    /// The trace, if it is an entry that names it.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        let names = matches!(Tag::of(self.0[0]).kind(), KIND_ENV | KIND_OVER | KIND_RESUMED);
        names.then(|| TraceId::new((u128::from(self.0[4]) << 64) | u128::from(self.0[5]))).flatten()
    }

    /// Whether a context came back by it.
    pub(crate) fn is_resumed(&self) -> bool {
        Tag::of(self.0[0]).kind() == KIND_RESUMED
    }

    /// Whether it becomes a record.
    #[inline]
    pub(crate) fn is_record(&self) -> bool {
        Self::is_record_in(self.0[0])
    }

    /// Likewise, by the first word alone.
    pub(crate) const fn is_record_in(first: u64) -> bool {
        matches!(Tag::of(first).kind(), KIND_STEP | KIND_ENV | KIND_NOTE)
    }

    /// Whether a first word is that of an entry which is no step.
    pub(crate) const fn is_other_in(first: u64) -> bool {
        matches!(Tag::of(first).kind(), KIND_ENV | KIND_NOTE | KIND_OVER | KIND_RESUMED)
    }

    /// [`Record::seq`](crate::Record::seq).
    #[inline]
    pub fn seq(&self) -> u64 {
        self.0[0] >> TAG_BITS
    }

    /// What the steps of one run of a function or node have in common, in their trace: the frame, or the step by hand
    /// that entered the node.
    pub(crate) fn run(&self) -> u64 {
        match self.0[4] {
            0 => self.0[2].wrapping_add(self.0[6]),
            frame => frame,
        }
    }

    /// The status of a step; `None` for anything else.
    #[inline]
    pub(crate) fn step_status(&self) -> Option<Status> {
        if self.is_step() { status(Tag::of(self.0[0]).what()) } else { None }
    }

    /// `None` for bytes that no writer of this version made.
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    pub(crate) fn event(&self) -> Option<Event> {
        let [first, ticks, env, step, four, five, six, seven] = self.0;
        let tag = Tag::of(first);
        let seq = self.seq();
        let site = (step & SITE_MASK) as u32;
        let step = step >> SITE_BITS;
        let trace = || TraceId::new((u128::from(four) << 64) | u128::from(five));
        let what = tag.what();
        let error = match (tag.0 >> ERROR_SHIFT) & ERROR_MASK {
            1 => Some(ErrorKind::Err),
            2 => Some(ErrorKind::Panic),
            3 => Some(ErrorKind::Cancelled),
            _ => None,
        };
        Some(match tag.kind() {
            KIND_STEP => Event::Step(StepEvent {
                ticks,
                seq,
                env: EnvId::new(env)?,
                step,
                site,
                frame: FrameId::from_raw(four),
                parent: FrameId::from_raw(five),
                key: six,
                occurrence: seven as u32,
                status: status(what)?,
                resumed: tag.0 & RESUMED != 0,
                through_fork: tag.0 & THROUGH_FORK != 0,
                error,
            }),
            KIND_ENV => Event::Env(EnvEvent {
                ticks,
                seq,
                env: EnvId::new(env)?,
                trace: trace()?,
                cause: *Cause::ALL.get(usize::from(what))?,
                parent: EnvId::new(six).map(|parent| (parent, step)),
                site,
                fork: seven,
                is_main: tag.0 & MAIN != 0,
                lacks_payload: tag.0 & LACKS_PAYLOAD != 0,
            }),
            KIND_NOTE => Event::Note(NoteEvent {
                ticks,
                seq,
                env: EnvId::new(env)?,
                step,
                site,
                kind: match what {
                    0 => NoteKind::Unwound { frame: FrameId::from_raw(four)?, error: error? },
                    1 => NoteKind::FlowViolation { from: five.checked_sub(1).map(|row| row as u16) },
                    _ => return None,
                },
            }),
            KIND_OVER => Event::Over { trace: trace()?, stepped: what == 1, seq },
            KIND_RESUMED => Event::Resumed { trace: trace()?, env: EnvId::new(env)?, seq },
            _ => return None,
        })
    }
}

const fn status(code: u16) -> Option<Status> {
    match code {
        0 => Some(Status::Enter),
        1 => Some(Status::Exit),
        2 => Some(Status::Error),
        _ => None,
    }
}

const fn error_code(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Err => 1,
        ErrorKind::Panic => 2,
        ErrorKind::Cancelled => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::AnyRandom;

    #[test]
    fn entries_read_back_what_was_written() {
        let env = EnvId::random(&AnyRandom::System);
        let (frame, parent) = (FrameId::new(3, 9), Some(FrameId::new(0, 1)));
        let tag = Tag::enter(true).again();
        let mut entry = Entry::step(env, 1 << 43, 1_048_575, frame, parent, u64::MAX - 1, u32::MAX, tag);
        entry.number(u64::MAX, 7);
        let step = StepEvent {
            ticks: u64::MAX,
            seq: 7,
            env,
            step: 1 << 43,
            site: 1_048_575,
            frame: Some(frame),
            parent,
            key: u64::MAX - 1,
            occurrence: u32::MAX,
            status: Status::Enter,
            resumed: true,
            through_fork: true,
            error: None,
        };
        assert_eq!(entry.event(), Some(Event::Step(step)));
        for error in [None, Some(ErrorKind::Err), Some(ErrorKind::Panic), Some(ErrorKind::Cancelled)] {
            let entry = Entry::step(env, 1, 2, frame, None, 3, 4, Tag::enter(false).again().end(error));
            let status = if error.is_some() { Status::Error } else { Status::Exit };
            assert_eq!(entry.step_status(), Some(status));
            let Some(Event::Step(step)) = entry.event() else { panic!("a step") };
            assert_eq!((step.error, step.status, step.occurrence, step.resumed), (error, status, 4, false));
        }
        for status in [Status::Enter, Status::Exit, Status::Error] {
            assert_eq!(Entry::manual(env, 1, 1, status).step_status(), Some(status));
        }
        let trace = TraceId::random(&AnyRandom::System);
        for cause in Cause::ALL {
            let parent = Some((EnvId::random(&AnyRandom::System), 12));
            for (is_main, lacks_payload) in [(false, true), (true, false)] {
                let event =
                    EnvEvent { ticks: 1, seq: 2, env, trace, cause, parent, site: 5, fork: 3, is_main, lacks_payload };
                assert_eq!(Entry::env(&event).event(), Some(Event::Env(event)));
                let again = Entry::again(&event);
                assert_eq!((again.event(), again.as_said_before()), (None, Some(Entry::env(&event))));
                assert_eq!(Entry::env(&event).as_said_before(), None);
            }
        }
        for kind in [
            NoteKind::Unwound { frame: FrameId::new(0, 1), error: ErrorKind::Panic },
            NoteKind::FlowViolation { from: None },
            NoteKind::FlowViolation { from: Some(65_535) },
        ] {
            let event = NoteEvent { ticks: 1, seq: 2, env, step: 4, site: 5, kind };
            assert_eq!(Entry::note(&event).event(), Some(Event::Note(event)));
        }
        assert_eq!(Entry::over(trace, true, 8).event(), Some(Event::Over { trace, stepped: true, seq: 8 }));
        assert_eq!(Entry::resumed(trace, env, 9).event(), Some(Event::Resumed { trace, env, seq: 9 }));
        assert_eq!(Entry([0; 8]).event(), None);
    }
}
