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
/// | 0 | ticks | ticks | ticks | ticks |
/// | 1 | seq | seq | seq | seq |
/// | 2 | env | env | env | –, env |
/// | 3 | step « 20 + site | parent step « 20 + site | step « 20 + site | – |
/// | 4 | frame | trace, high half | frame | trace, high half |
/// | 5 | parent frame | trace, low half | from « 32 + site | trace, low half |
/// | 6 | key; by hand the step that entered | parent env | – | – |
/// | 7 | kind, status, flags, error, occurrence | kind, cause, fork number | kind, note, error | kind |
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
    pub(crate) fork: u32,
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

const KIND_STEP: u64 = 1;
const KIND_ENV: u64 = 2;
const KIND_NOTE: u64 = 3;
const KIND_OVER: u64 = 4;
const KIND_RESUMED: u64 = 5;
const SITE_BITS: u32 = 20;
const SITE_MASK: u64 = (1 << SITE_BITS) - 1;

const fn step_and_site(step: u64, site: u32) -> u64 {
    (step << SITE_BITS) | (site as u64 & SITE_MASK)
}

/// The last word of a step, but for its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail(u64);

impl Tail {
    /// For the call that is the `occurrence`-th of its node.
    #[inline]
    pub(crate) const fn new(occurrence: u32, through_fork: bool) -> Self {
        Self(KIND_STEP | ((occurrence as u64) << 32) | ((through_fork as u64) << 17))
    }

    #[inline]
    pub(crate) const fn enter(self, resumed: bool) -> u64 {
        self.0 | ((resumed as u64) << 16)
    }

    #[inline]
    pub(crate) const fn end(self, error: Option<ErrorKind>) -> u64 {
        self.0
            | match error {
                None => 1 << 8,
                Some(kind) => (2 << 8) | (error_code(kind) << 24),
            }
    }
}

impl Entry {
    /// A step of a frame; the ticks and the number are filled in as it is written.
    #[inline]
    pub(crate) fn step(
        env: EnvId,
        step: u64,
        site: u32,
        frame: FrameId,
        parent: Option<FrameId>,
        key: u64,
        last: u64,
    ) -> Self {
        let parent = parent.map_or(0, FrameId::raw);
        Self([0, 0, env.get(), step_and_site(step, site), frame.raw(), parent, key, last])
    }

    /// A step of the manual API; `entered` is the step that entered its node.
    pub(crate) fn manual(env: EnvId, step: u64, entered: u64, status: Status) -> Self {
        let status = match status {
            Status::Enter => 0,
            Status::Exit => 1,
            Status::Error => 2,
        };
        Self([0, 0, env.get(), step_and_site(step, 0), 0, 0, entered, KIND_STEP | (status << 8)])
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    pub(crate) fn env(event: &EnvEvent) -> Self {
        let (parent, parent_step) = event.parent.map_or((0, 0), |(env, step)| (env.get(), step));
        let cause = Cause::ALL.iter().position(|cause| *cause == event.cause).unwrap_or(0) as u64;
        Self([
            event.ticks,
            event.seq,
            event.env.get(),
            step_and_site(parent_step, event.site),
            (event.trace.get() >> 64) as u64,
            event.trace.get() as u64,
            parent,
            KIND_ENV | (cause << 8) | (u64::from(event.fork) << 32),
        ])
    }

    pub(crate) fn note(event: &NoteEvent) -> Self {
        let (note, error, frame, from) = match event.kind {
            NoteKind::Unwound { frame, error } => (0, error_code(error), frame.raw(), 0),
            NoteKind::FlowViolation { from } => (1, 0, 0, from.map_or(0, |row| u64::from(row) + 1)),
        };
        Self([
            event.ticks,
            event.seq,
            event.env.get(),
            step_and_site(event.step, event.site),
            frame,
            from,
            0,
            KIND_NOTE | (note << 8) | (error << 24),
        ])
    }

    pub(crate) fn over(trace: TraceId, stepped: bool, seq: u64) -> Self {
        Self::of_trace(trace, seq, KIND_OVER | (u64::from(stepped) << 8))
    }

    pub(crate) fn resumed(trace: TraceId, env: EnvId, seq: u64) -> Self {
        let mut entry = Self::of_trace(trace, seq, KIND_RESUMED);
        entry.0[2] = env.get();
        entry
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    fn of_trace(trace: TraceId, seq: u64, kind: u64) -> Self {
        Self([0, seq, 0, 0, (trace.get() >> 64) as u64, trace.get() as u64, 0, kind])
    }

    /// Whether it is a step: all but a few are.
    #[inline]
    pub(crate) fn is_step(&self) -> bool {
        Self::is_step_in(self.0[7])
    }

    /// Likewise, by the last word alone.
    #[inline]
    pub(crate) const fn is_step_in(last: u64) -> bool {
        last & 0xff == KIND_STEP
    }

    /// Whether it becomes a record.
    #[inline]
    pub(crate) fn is_record(&self) -> bool {
        matches!(self.0[7] & 0xff, KIND_STEP | KIND_ENV | KIND_NOTE)
    }

    /// [`Record::seq`](crate::Record::seq).
    pub(crate) fn seq(&self) -> u64 {
        self.0[1]
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
        Self::status_in(self.0[7])
    }

    /// Likewise, by the last word alone.
    #[inline]
    pub(crate) const fn status_in(last: u64) -> Option<Status> {
        match last & 0xffff {
            0x001 => Some(Status::Enter),
            0x101 => Some(Status::Exit),
            0x201 => Some(Status::Error),
            _ => None,
        }
    }

    /// `None` for bytes that no writer of this version made.
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    pub(crate) fn event(&self) -> Option<Event> {
        let [ticks, seq, env, step, four, five, six, seven] = self.0;
        let site = (step & SITE_MASK) as u32;
        let step = step >> SITE_BITS;
        let trace = || TraceId::new((u128::from(four) << 64) | u128::from(five));
        let error = match (seven >> 24) & 0xff {
            1 => Some(ErrorKind::Err),
            2 => Some(ErrorKind::Panic),
            3 => Some(ErrorKind::Cancelled),
            _ => None,
        };
        Some(match seven & 0xff {
            KIND_STEP => Event::Step(StepEvent {
                ticks,
                seq,
                env: EnvId::new(env)?,
                step,
                site,
                frame: FrameId::from_raw(four),
                parent: FrameId::from_raw(five),
                key: six,
                occurrence: (seven >> 32) as u32,
                status: match (seven >> 8) & 0xff {
                    0 => Status::Enter,
                    1 => Status::Exit,
                    2 => Status::Error,
                    _ => return None,
                },
                resumed: (seven >> 16) & 1 == 1,
                through_fork: (seven >> 17) & 1 == 1,
                error,
            }),
            KIND_ENV => Event::Env(EnvEvent {
                ticks,
                seq,
                env: EnvId::new(env)?,
                trace: trace()?,
                cause: *Cause::ALL.get(((seven >> 8) & 0xff) as usize)?,
                parent: EnvId::new(six).map(|parent| (parent, step)),
                site,
                fork: (seven >> 32) as u32,
            }),
            KIND_NOTE => Event::Note(NoteEvent {
                ticks,
                seq,
                env: EnvId::new(env)?,
                step,
                site,
                kind: match (seven >> 8) & 0xff {
                    0 => NoteKind::Unwound { frame: FrameId::from_raw(four)?, error: error? },
                    1 => NoteKind::FlowViolation { from: five.checked_sub(1).map(|row| row as u16) },
                    _ => return None,
                },
            }),
            KIND_OVER => Event::Over { trace: trace()?, stepped: (seven >> 8) & 0xff == 1, seq },
            KIND_RESUMED => Event::Resumed { trace: trace()?, env: EnvId::new(env)?, seq },
            _ => return None,
        })
    }
}

const fn error_code(kind: ErrorKind) -> u64 {
    match kind {
        ErrorKind::Err => 1,
        ErrorKind::Panic => 2,
        ErrorKind::Cancelled => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AnyRandom;

    #[test]
    fn entries_read_back_what_was_written() {
        let env = EnvId::random(&AnyRandom::System);
        let (frame, parent) = (FrameId::new(3, 9), Some(FrameId::new(0, 1)));
        let tail = Tail::new(u32::MAX, true);
        let mut entry = Entry::step(env, 1 << 43, 1_048_575, frame, parent, u64::MAX - 1, tail.enter(true));
        (entry.0[0], entry.0[1]) = (u64::MAX, 7);
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
            let entry = Entry::step(env, 1, 2, frame, None, 3, Tail::new(4, false).end(error));
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
            let event = EnvEvent { ticks: 1, seq: 2, env, trace, cause, parent, site: 5, fork: 3 };
            assert_eq!(Entry::env(&event).event(), Some(Event::Env(event)));
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
