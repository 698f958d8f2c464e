//! Runs of events: which steps they are.

use tracer::recorder::SiteNumbers;

use super::contents::{DETAILED, EXITED, FRAME_SHIFT, KIND_NOTE, KIND_STEP, STATUS, STEP_SHIFT, Seen};
use super::open::ShownFrames;
use super::page::Steps;
use super::scan::{Found, KIND_ENTER, KIND_EXIT, KIND_MASK, SEQ_SHIFT, Scan, Slot};

/// Ticks in a unit of the time of an event.
const TIME_UNIT: u64 = 4;

/// What was entered in a run and has not ended: the frame, and the event that says so, if it was one.
#[derive(Debug, Default)]
pub(super) struct RunCalls(Vec<(u64, Option<Found>)>);

/// The run that events belong to.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) env: u64,
    /// The number of the env in its trace.
    ordinal: u64,
    /// The numbers of the next step and record.
    pub(super) step: u64,
    pub(super) seq: u64,
    /// What events count from.
    began: u64,
    ticks: u64,
}

impl RunCalls {
    /// Goes along with what was written in full.
    pub(super) fn follow(&mut self, words: &[u64; 8]) {
        let (kind, frame) = (words[0] & KIND_MASK, words[4]);
        match kind {
            KIND_STEP if words[0] & STATUS == 0 => self.0.push((frame, None)),
            KIND_STEP | KIND_NOTE => self.0.retain(|(open, _)| *open != frame),
            _ => {}
        }
    }

    /// Takes events, of the steps that `run` stands before; those of calls that end here say nothing, unless a block shows
    /// them, which may be older. `None`: what ends did not begin here.
    pub(super) fn take(
        &mut self,
        mut run: Run,
        events: &[u64],
        slot: Option<Slot>,
        shown: &ShownFrames,
    ) -> Option<Vec<Found>> {
        let mut out = Vec::new();
        for event in events.iter().copied().take_while(|event| *event != 0) {
            run.ticks = run.ticks.max(run.began.saturating_add((event >> 32) * TIME_UNIT));
            if event & KIND_MASK == KIND_ENTER {
                let frame = run.frame(run.step);
                self.0.push((frame, Some(run.found(run.step, run.seq, event, slot, frame))));
            } else {
                let (frame, entered) = self.0.pop()?;
                if entered.is_none() || shown.has(frame) {
                    out.extend(entered);
                    out.push(run.found(run.step, run.seq, event, slot, frame));
                }
            }
            (run.step, run.seq) = (run.step.checked_add(1)?, run.seq + 1);
        }
        Some(out)
    }

    /// The run is over: gives what it has entered.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Found> + '_ {
        self.0.drain(..).filter_map(|(_, entered)| entered)
    }
}

impl Run {
    /// That of a header.
    pub(super) const fn of(words: &[u64; 8]) -> Self {
        let [tag, began, env, step, _, _, ordinal, _] = *words;
        Self { env, ordinal, step, seq: tag >> SEQ_SHIFT, began, ticks: began }
    }

    /// An entry stands in between.
    pub(super) fn goes_on(&mut self, seq: u64, words: &[u64; 8]) {
        self.seq = seq + 1;
        if words[0] & KIND_MASK == KIND_STEP && words[2] == self.env {
            self.step = (words[3] >> STEP_SHIFT) + 1;
            self.ticks = self.ticks.max(words[1]);
        }
    }

    /// The frame that a step enters.
    pub(super) const fn frame(&self, step: u64) -> u64 {
        (self.ordinal << FRAME_SHIFT) | (step & ((1 << FRAME_SHIFT) - 1))
    }

    /// The step of a frame that an event is, the last, as far as it says what is open.
    pub(super) fn found(&self, step: u64, seq: u64, event: u64, slot: Option<Slot>, frame: u64) -> Found {
        let step_and_site = (step << STEP_SHIFT) | (event >> 12 & 0xf_ffff);
        let status = if event & KIND_MASK == KIND_ENTER { 0 } else { EXITED };
        let tag = (seq << SEQ_SHIFT) | if slot.is_some() { DETAILED } else { 0 } | status | KIND_STEP;
        let words = [tag, self.ticks, self.env, step_and_site, frame, 0, 0, 0];
        Found { seq, words, slot, is_event: true }
    }

    /// The steps that the events of a slot are.
    #[inline]
    pub(super) fn events(&mut self, scan: &Scan<'_>, words: &[u64], page: u32) -> Option<Steps> {
        let (mut steps, mut spans, mut first_ticks) = (0_u32, 0, 0);
        for word in words.iter().take_while(|word| **word != 0) {
            match word & KIND_MASK {
                KIND_ENTER => spans += 1,
                KIND_EXIT => {}
                _ => return None,
            }
            let site = u32::try_from(word >> 12 & 0xf_ffff).unwrap_or(0);
            scan.dictionary.numbers().node(site)?;
            self.ticks = self.ticks.max(self.began.saturating_add((word >> 32) * TIME_UNIT));
            if steps == 0 {
                first_ticks = self.ticks;
            }
            steps += 1;
        }
        let is_cut = words.iter().skip_while(|word| **word != 0).any(|word| *word != 0);
        if is_cut {
            return None;
        }
        let (from, seq) = (self.step, self.seq);
        (self.step, self.seq) = (from.checked_add(steps.into())?, seq + u64::from(steps));
        let seen = Seen {
            records: steps,
            steps,
            spans,
            first_seq: seq,
            first_ticks,
            last_ticks: self.ticks,
            end: self.step,
            newest: page,
        };
        Some(Steps { env: self.env, from, to: self.step, seen })
    }
}
