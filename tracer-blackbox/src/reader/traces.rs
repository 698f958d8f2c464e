//! The traces of a file: how each stands, and where its records are.

use std::collections::HashMap;
use std::sync::OnceLock;

use tracer::recorder::Times;
use tracer::{EnvId, TraceId, TraceState};

use super::Death;
use super::contents::{Contents, DETAILED, LACKS_PAYLOAD, PANIC, PANIC_MASK, Seen, Stretch, place_of};
use super::gaps::Gap;
use super::inherited::Inherited;
use super::open::{Env, Open, Origin, Running};
use super::scan::{Scan, Slot};
use super::spread::EnvSet;
use super::whole::{Piece, Whole, Wholes};

/// A trace, without its records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceSummary {
    /// Its id.
    pub trace_id: TraceId,
    /// How it stands. What was not over when its process died is lost, whether or not a node was open.
    pub state: TraceState,
    /// No record says that it is over.
    pub is_active: bool,
    /// The records that are there: envs, steps and notes.
    pub records: u64,
    /// The steps among them.
    pub steps: u64,
    /// The envs among them.
    pub envs: u64,
    /// Runs of nodes whose enter is there.
    pub spans: u64,
    /// Steps that are missing: gaps in the numbers of its envs.
    pub lost_steps: u64,
    /// The time of its first record, in Unix nanoseconds; zero if there is none.
    pub first_unix_ns: u64,
    /// The time of its last record, in Unix nanoseconds; zero if there is none.
    pub last_unix_ns: u64,
}

/// Traces, and where the records of each are: put together when they are asked for.
pub(super) struct Traces {
    running: Running,
    pub(super) inherited: Inherited,
    /// By env.
    stretches: Vec<Stretch>,
    /// Their places are behind those of the traces that run or ran.
    pub(super) wholes: Wholes,
    /// Envs whose own records are not there, and whose traces are known all the same.
    pub(super) known: Vec<(TraceId, EnvId)>,
    /// Where envs whose own records are not there are said once more, in their order.
    pub(super) again: Vec<Slot>,
    /// Of which something is open.
    open: EnvSet,
    by_trace: OnceLock<ByTrace>,
    /// Traces with their places, in order.
    by_id: OnceLock<Vec<(TraceId, u32)>>,
    listed: OnceLock<Listed>,
}

/// Traces in the order of their first records.
pub(super) struct Listed {
    pub(super) all: Vec<TraceSummary>,
    /// Likewise.
    pub(super) tells: Vec<Tells>,
}

/// The envs of each trace, by their places.
#[derive(Debug, Default)]
struct ByTrace {
    /// Those of one trace beside each other.
    envs: Vec<u32>,
    /// By the place of a trace: how many are before its own. One more for the end.
    begin: Vec<u32>,
}

/// The entries that say most about a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tells {
    pub(super) source: Option<Slot>,
    pub(super) failed: Option<Slot>,
}

/// Gaps in steps that are told one by one.
const STEP_GAPS_MAX: usize = 10_000;

/// What is there of a trace.
struct Gathered {
    /// Its place.
    trace: u32,
    seen: Seen,
    envs: u64,
    /// Of which their own records are there.
    envs_recorded: u64,
    lost_steps: u64,
    /// By its place.
    root: Option<(u64, u32)>,
    /// Any env whose own record is there.
    recorded: Option<(u64, u32)>,
    /// The place of the last env that says that it goes on with that, with its number. Not said before 2.1.
    goes_on: Option<(u64, u32)>,
    /// The first error.
    failed: Option<Slot>,
    /// The last panic with a text.
    told: Option<Slot>,
}

impl Traces {
    pub(super) fn new(contents: Contents, mut running: Running, inherited: Inherited, open: &[Open]) -> Self {
        running.forget_ids();
        Self {
            known: running.known().collect(),
            running,
            inherited,
            again: contents.again,
            stretches: contents.stretches,
            wholes: contents.wholes,
            open: open.iter().map(|open| open.env.get()).collect(),
            by_trace: OnceLock::new(),
            by_id: OnceLock::new(),
            listed: OnceLock::new(),
        }
    }

    /// Records of envs whose traces are known, and of others.
    pub(super) fn records(&self) -> (u64, u64) {
        let (mut known, mut orphans) = (self.wholes.all.iter().map(|of| u64::from(of.seen.records)).sum(), 0);
        for env in self.running.envs() {
            *(if env.trace.is_some() { &mut known } else { &mut orphans }) += u64::from(env.seen.records);
        }
        (known, orphans)
    }

    /// Envs whose payload is not there.
    pub(super) fn payloads_missing(&self, scan: &Scan<'_>) -> u64 {
        let words = self.again.iter().filter_map(|slot| scan.words(*slot));
        let is_own = |env: u64| !self.inherited.has(env);
        words.filter(|words| words[0] & LACKS_PAYLOAD != 0 && is_own(words[2])).count() as u64
    }

    /// Steps that are missing.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        let env = |place| &self.running.envs()[place_of(place)];
        let before = move |place| self.inherited.steps_before(env(place).id);
        let missing = missing(&self.stretches, before).filter_map(move |(place, from, to)| {
            let (id, trace_id) = (EnvId::new(env(place).id)?, self.running.traces[place_of(env(place).trace?.get())]);
            let [from, to] = [from, to].map(|step| self.inherited.step(id, step));
            let gap = Gap::Steps { trace_id, env_id: self.inherited.env(id), from, to };
            Some((env(place).seen.first_seq, gap))
        });
        let mut missing: Vec<(u64, Gap)> = missing.collect();
        // The oldest first, in whatever order they were found.
        missing.sort_by_key(|(first_seq, _)| *first_seq);
        missing.into_iter().take(STEP_GAPS_MAX).map(|(_, gap)| gap)
    }

    pub(super) fn listed(&self, scan: &Scan<'_>, times: &Times, death: &Death) -> &Listed {
        self.listed.get_or_init(|| {
            let (by_trace, running) = (self.by_trace(), &self.running);
            let order = self.in_order();
            let mut listed = Listed { all: Vec::with_capacity(order.len()), tells: Vec::with_capacity(order.len()) };
            for trace in order {
                if let Some(whole) = self.whole_at(trace) {
                    listed.all.push(whole.summary(times));
                    listed.tells.push(Tells { source: Some(whole.record), failed: None });
                    continue;
                }
                let of = Gathered::new(trace, by_trace.of(trace), self, scan);
                listed.all.push(of.summary(running, &self.open, times, death));
                listed.tells.push(of.tells(running, scan));
            }
            listed
        })
    }

    /// The places of the traces that have any records, or blocks, in the order of their first records. Of some, no more was
    /// said than that they are over.
    fn in_order(&self) -> Vec<u32> {
        let (by_trace, running) = (self.by_trace(), &self.running);
        let first_seq = |trace: u32| {
            let seen = by_trace.of(trace).iter().map(|env| &running.envs()[place_of(*env)].seen);
            seen.filter(|seen| seen.records > 0).map(|seen| seen.first_seq).min()
        };
        let traces = (0..).zip(&running.traces).filter(|(trace, _)| !by_trace.of(*trace).is_empty());
        // Those of which only blocks know have lost their records: they are the oldest.
        let traces = traces.map(|(trace, id)| (first_seq(trace).unwrap_or(0), *id, trace));
        let mut order: Vec<(u64, TraceId, u32)> = traces
            .chain(self.whole_places().map(|(whole, trace)| (whole.seen.first_seq, whole.trace, trace)))
            .collect();
        order.sort_by_key(|(first_seq, id, _)| (*first_seq, *id));
        order.into_iter().map(|(.., trace)| trace).collect()
    }

    fn whole_places(&self) -> impl Iterator<Item = (&Whole, u32)> {
        self.wholes.all.iter().zip(u32::try_from(self.running.traces.len()).unwrap_or(u32::MAX)..)
    }

    fn whole_at(&self, trace: u32) -> Option<&Whole> {
        self.wholes.all.get(place_of(trace).checked_sub(self.running.traces.len())?)
    }

    fn by_trace(&self) -> &ByTrace {
        self.by_trace.get_or_init(|| ByTrace::new(&self.running))
    }
}

impl ByTrace {
    fn new(running: &Running) -> Self {
        let mut begin = vec![0; running.traces.len() + 1];
        let places = || running.envs().iter().map(|env| env.trace.map(|trace| place_of(trace.get())));
        places().flatten().for_each(|trace| begin[trace + 1] += 1);
        let mut before = 0;
        for count in &mut begin {
            before += *count;
            *count = before;
        }
        let (mut envs, mut next) = (vec![0; place_of(before)], begin.clone());
        for (env, trace) in (0..).zip(places()) {
            let Some(trace) = trace else { continue };
            envs[place_of(next[trace])] = env;
            next[trace] += 1;
        }
        Self { envs, begin }
    }

    fn of(&self, trace: u32) -> &[u32] {
        let at = |trace| self.begin.get(trace).copied().map_or(self.envs.len(), place_of);
        &self.envs[at(place_of(trace))..at(place_of(trace) + 1)]
    }
}

/// Steps that are missing between others, or before the first: of each env, by its place, from the one to the other.
/// `steps_before`: those of an env that are in another file.
fn missing<'a>(
    stretches: &'a [Stretch],
    steps_before: impl Fn(u32) -> u64 + 'a,
) -> impl Iterator<Item = (u32, u64, u64)> + 'a {
    let mut before = (u32::MAX, 0);
    stretches.iter().filter_map(move |Stretch { env, from, to, .. }| {
        let (env_before, end) = before;
        let end = if env_before == *env { end } else { steps_before(*env) + 1 };
        before = (*env, end.max(*to));
        (*from > end && to > from).then(|| (*env, end, from - 1))
    })
}

impl Whole {
    fn summary(&self, times: &Times) -> TraceSummary {
        TraceSummary {
            trace_id: self.trace,
            state: TraceState::Ok,
            is_active: false,
            records: self.seen.records.into(),
            steps: self.seen.steps.into(),
            envs: 1,
            spans: self.seen.spans.into(),
            lost_steps: 0,
            first_unix_ns: times.unix_ns(self.seen.first_ticks),
            last_unix_ns: times.unix_ns(self.seen.last_ticks),
        }
    }
}

impl Gathered {
    fn new(trace: u32, envs: &[u32], of: &Traces, scan: &Scan<'_>) -> Self {
        let mut gathered = Self {
            trace,
            seen: Seen::NOTHING,
            envs: 0,
            envs_recorded: 0,
            lost_steps: 0,
            root: None,
            recorded: None,
            goes_on: None,
            failed: None,
            told: None,
        };
        for place in envs {
            let env = &of.running.envs()[place_of(*place)];
            gathered.add(*place, env, of.inherited.steps_before(env.id), scan);
        }
        gathered
    }

    /// Takes one of its envs.
    fn add(&mut self, place: u32, env: &Env, steps_before: u64, scan: &Scan<'_>) {
        self.envs += 1;
        self.envs_recorded += u64::from(env.record.is_some());
        let earliest = |of: Option<(u64, u32)>| of.into_iter().chain([(env.seen.first_seq, place)]).min();
        if env.origin == Origin::Root {
            self.root = earliest(self.root);
        }
        if env.record.is_some() {
            self.recorded = earliest(self.recorded);
        }
        if let Some(found) = env.record.filter(|_| env.origin == Origin::Main).and_then(|slot| scan.found(slot)) {
            self.goes_on = self.goes_on.max(Some((found.seq, place)));
        }
        let failed = [env.failed, self.failed].into_iter().flatten();
        self.failed = failed.min_by_key(|slot| scan.words(*slot).map(|words| words[1]));
        let is_told = |words: [u64; 8]| words[0] & (PANIC_MASK | DETAILED) == PANIC | DETAILED;
        let told = env.failed.filter(|slot| scan.words(*slot).is_some_and(is_told));
        self.told = [told, self.told].into_iter().flatten().max_by_key(|slot| scan.words(*slot).map(|words| words[1]));
        self.lost_steps += env.seen.end.saturating_sub(steps_before + 1).saturating_sub(env.seen.steps.into());
        self.seen.add(&env.seen);
    }

    fn summary(&self, running: &Running, open: &EnvSet, times: &Times, death: &Death) -> TraceSummary {
        let (seen, is_active) = (&self.seen, !running.is_over(self.trace));
        let time = |ticks| if seen.records > 0 { times.unix_ns(ticks) } else { 0 };
        TraceSummary {
            trace_id: running.traces[place_of(self.trace)],
            state: self.state(running, open, is_active, death),
            is_active,
            records: seen.records.into(),
            steps: seen.steps.into(),
            envs: self.envs_recorded,
            spans: seen.spans.into(),
            lost_steps: self.lost_steps,
            first_unix_ns: time(seen.first_ticks),
            last_unix_ns: time(seen.last_ticks),
        }
    }

    /// The root env, followed through its recoveries to the last one; and how many these are.
    fn last<'r>(&self, running: &'r Running) -> (Option<&'r Env>, u64) {
        let at = |place| running.envs().get(place_of(place));
        let mut last = self.goes_on.or(self.root).and_then(|(_, place)| at(place));
        let mut recoveries = u64::from(self.goes_on.is_some());
        // As many as there are envs: what is no trace of ours may lead in a circle.
        while let Some(next) = last.and_then(|env| at(env.successor?.get())).filter(|_| recoveries < self.envs) {
            recoveries += 1;
            last = Some(next);
        }
        (last, recoveries)
    }

    /// Its own record, and the step that says most about how it failed: the one that ended it, or the first.
    fn tells(&self, running: &Running, scan: &Scan<'_>) -> Tells {
        let record = |(_, place): (u64, u32)| running.envs()[place_of(place)].record;
        let source = self.root.and_then(record).or(self.recorded.and_then(record));
        let failed = self.last(running).0.and_then(|last| last.failed);
        // A panic has its text in the env that it began in.
        let lacks_text =
            |slot: &Slot| scan.words(*slot).is_some_and(|words| words[0] & (PANIC_MASK | DETAILED) == PANIC);
        let panicked = failed.filter(lacks_text).and(self.told);
        let failed = panicked.or(failed).or(self.failed);
        Tells { source, failed }
    }

    fn state(&self, running: &Running, open: &EnvSet, is_active: bool, death: &Death) -> TraceState {
        let is_running = is_active && *death == Death::StillRunning;
        let (last, recoveries) = self.last(running);
        match last {
            Some(env) if env.failed.is_some() || env.is_unwound => TraceState::Failed,
            _ if is_running => TraceState::Running,
            None => TraceState::Lost,
            Some(env) if open.contains(&env.id) => TraceState::Lost,
            // Between two nodes nothing is open, and it is not over.
            Some(_) if is_active && !matches!(death, Death::Clean { .. }) => TraceState::Lost,
            Some(_) if recoveries > 0 => TraceState::Recovered,
            Some(_) => TraceState::Ok,
        }
    }
}

impl Traces {
    fn place(&self, trace: TraceId) -> Option<u32> {
        let by_id = self.by_id.get_or_init(|| {
            let followed = self.running.traces.iter().copied().zip(0..);
            let mut all: Vec<_> = followed.chain(self.whole_places().map(|(of, place)| (of.trace, place))).collect();
            all.sort_unstable();
            all
        });
        by_id.binary_search_by_key(&trace, |(id, _)| *id).ok().map(|at| by_id[at].1)
    }

    /// The envs of a trace, by their places; none of one that is whole.
    fn of(&self, trace: TraceId) -> impl Iterator<Item = u32> + '_ {
        self.place(trace).map_or(&[][..], |place| self.by_trace().of(place)).iter().copied()
    }

    fn whole(&self, trace: TraceId) -> Option<&Whole> {
        self.whole_at(self.place(trace)?)
    }

    fn pieces(&self, trace: TraceId) -> impl Iterator<Item = &Piece> {
        self.whole(trace).into_iter().flat_map(|of| self.wholes.pieces(of))
    }

    /// The envs of a trace.
    pub(super) fn envs(&self, trace: TraceId) -> impl Iterator<Item = u64> + '_ {
        let followed = self.of(trace).map(|place| self.running.envs()[place_of(place)].id);
        followed.chain(self.whole(trace).map(|of| of.env))
    }

    /// The last of the pages that have records of a trace, until they have so many.
    pub(super) fn newest_pages(&self, trace: TraceId, at_least: u64, scan: &Scan<'_>) -> Vec<u32> {
        let mut records: HashMap<u32, u64> = HashMap::new();
        let stretches = self.of(trace).flat_map(|env| self.stretches_of(env));
        let stretches = stretches.map(|of| (of.page, (of.to - of.from).max(1)));
        for (page, count) in stretches.chain(self.pieces(trace).map(|of| (of.page, of.records.into()))) {
            *records.entry(page).or_default() += count;
        }
        let mut pages = self.pages(trace, scan);
        let (mut count, mut from) = (0, pages.len());
        while from > 0 && count < at_least {
            from -= 1;
            count += records.get(&pages[from]).copied().unwrap_or(0);
        }
        pages.split_off(from)
    }

    fn stretches_of(&self, env: u32) -> impl Iterator<Item = &Stretch> + '_ {
        let from = self.stretches.partition_point(|stretch| stretch.env < env);
        self.stretches[from..].iter().take_while(move |stretch| stretch.env == env)
    }

    /// The pages that have records of a trace.
    pub(super) fn pages(&self, trace: TraceId, scan: &Scan<'_>) -> Vec<u32> {
        let of_env = |env| self.stretches_of(env).map(|stretch| stretch.page);
        let turns =
            self.running.turns.iter().filter(|(other, _)| *other == trace).filter_map(|(_, slot)| scan.place_of(*slot));
        let mut pages: Vec<u32> =
            self.of(trace).flat_map(of_env).chain(turns).chain(self.pieces(trace).map(|of| of.page)).collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
}
