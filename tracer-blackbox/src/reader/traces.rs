//! The traces of a file: how each stands, and where its records are.

use std::collections::HashMap;
use std::sync::OnceLock;

use tracer::recorder::Times;
use tracer::{EnvId, TraceId, TraceState};

use super::Death;
use super::contents::{Contents, EnvSet, Seen, Stretch, place_of};
use super::gaps::Gap;
use super::open::{Env, Followed, Open, Running};
use super::scan::{Scan, Slot};

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

/// Where the records of each trace are.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// With the traces that they are of, by place.
    envs: Vec<(u64, Option<u32>)>,
    traces: Vec<TraceId>,
    /// Traces with the places of their envs, in order; put so when it is first asked for.
    by_trace: OnceLock<Vec<(TraceId, u32)>>,
    /// By env.
    stretches: Vec<Stretch>,
    /// Envs whose own records are not there.
    known: Vec<(TraceId, EnvId)>,
    /// Of a trace: the page that says that it is over, though it went on.
    turns: Vec<(TraceId, Slot)>,
}

/// Traces in the order of their first records, places, and what is missing.
pub(super) struct Traces {
    pub(super) all: Vec<TraceSummary>,
    pub(super) places: Places,
    pub(super) gaps: Vec<Gap>,
    /// All records of known traces.
    pub(super) records: u64,
    /// In the order of `all`.
    pub(super) tells: Vec<Tells>,
}

/// The entries that say most about a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tells {
    pub(super) root: Option<Slot>,
    pub(super) failed: Option<Slot>,
}

/// Gaps in steps that are told one by one.
const STEP_GAPS_MAX: usize = 10_000;

/// What is there of a trace.
struct Gathered {
    id: TraceId,
    is_over: bool,
    seen: Seen,
    envs: u64,
    lost_steps: u64,
    /// By its place.
    root: Option<u32>,
    /// The first error.
    failed: Option<(u64, Option<Slot>)>,
}

impl Traces {
    pub(super) fn new(contents: Contents, running: Running, open: &[Open], times: &Times, death: &Death) -> Self {
        let mut traces =
            Self { all: Vec::new(), places: Places::default(), gaps: Vec::new(), records: 0, tells: Vec::new() };
        let mut gathered: Vec<Gathered> = running.traces.iter().map(Gathered::new).collect();
        let mut orphans = 0;
        for (place, env) in (0..).zip(&running.envs) {
            match env.trace {
                Some(trace) => gathered[place_of(trace)].add(place, env),
                None => orphans += env.seen.records,
            }
        }
        // Of some, no more was said than that they are over.
        gathered.retain(|of| of.envs > 0);
        for (place, from, to) in missing(&contents.stretches) {
            let env = &running.envs[place_of(place)];
            let (Some(trace), Some(env_id)) = (env.trace, EnvId::new(env.id)) else { continue };
            if traces.gaps.len() < STEP_GAPS_MAX {
                traces.gaps.push(Gap::Steps { trace_id: running.traces[place_of(trace)].id, env_id, from, to });
            }
        }
        if orphans > 0 {
            traces.gaps.push(Gap::Orphans { records: orphans });
        }
        // Those of which only blocks know have lost their records: they are the oldest.
        gathered.sort_by_key(|of| (if of.seen.records > 0 { of.seen.first_seq } else { 0 }, of.id));
        let open_envs: EnvSet = open.iter().map(|open| open.env.get()).collect();
        traces.records = gathered.iter().map(|of| of.seen.records).sum();
        traces.all = gathered.iter().map(|of| of.summary(&running, &open_envs, times, death)).collect();
        traces.tells = gathered.iter().map(|of| of.tells(&running)).collect();
        traces.places = Places {
            envs: running.envs.iter().map(|env| (env.id, env.trace)).collect(),
            traces: running.traces.iter().map(|trace| trace.id).collect(),
            by_trace: OnceLock::new(),
            stretches: contents.stretches,
            known: running.known().collect(),
            turns: running.turns,
        };
        traces
    }
}

/// Steps that are missing between others, or before the first: of each env, by its place, from the one to the other.
fn missing(stretches: &[Stretch]) -> Vec<(u32, u64, u64)> {
    let mut missing = Vec::new();
    let mut before = (u32::MAX, 0);
    for Stretch { env, from, to, .. } in stretches {
        let (env_before, end) = before;
        let end = if env_before == *env { end } else { 1 };
        if *from > end && to > from {
            missing.push((*env, end, from - 1));
        }
        before = (*env, end.max(*to));
    }
    missing
}

impl Gathered {
    fn new(of: &Followed) -> Self {
        let (id, is_over) = (of.id, of.over.is_some());
        Self { id, is_over, seen: Seen::NOTHING, envs: 0, lost_steps: 0, root: None, failed: None }
    }

    /// Takes one of its envs.
    fn add(&mut self, place: u32, env: &Env) {
        self.envs += 1;
        self.root = self.root.or(env.is_root.then_some(place));
        let failed = [env.failed, self.failed].into_iter().flatten();
        self.failed = failed.min_by_key(|(ticks, _)| *ticks);
        self.lost_steps += env.seen.end.saturating_sub(1).saturating_sub(env.seen.steps);
        self.seen.add(&env.seen);
    }

    fn summary(&self, running: &Running, open: &EnvSet, times: &Times, death: &Death) -> TraceSummary {
        let (seen, is_active) = (&self.seen, !self.is_over);
        let time = |ticks| if seen.records > 0 { times.unix_ns(ticks) } else { 0 };
        TraceSummary {
            trace_id: self.id,
            state: self.state(running, open, is_active, death),
            is_active,
            records: seen.records,
            steps: seen.steps,
            envs: seen.envs,
            spans: seen.spans,
            lost_steps: self.lost_steps,
            first_unix_ns: time(seen.first_ticks),
            last_unix_ns: time(seen.last_ticks),
        }
    }

    /// The root env, followed through its recoveries to the last one; and how many these are.
    fn last<'r>(&self, running: &'r Running) -> (Option<&'r Env>, u64) {
        let at = |place| running.envs.get(place_of(place));
        let mut last = self.root.and_then(at);
        let mut recoveries = 0;
        // As many as there are envs: what is no trace of ours may lead in a circle.
        while let Some(next) = last.and_then(|env| at(env.successor?)).filter(|_| recoveries < self.envs) {
            recoveries += 1;
            last = Some(next);
        }
        (last, recoveries)
    }

    /// Its own record, and the step that says most about how it failed: the one that ended it, or the first.
    fn tells(&self, running: &Running) -> Tells {
        let root = self.root.and_then(|root| running.envs[place_of(root)].record);
        let failed = self.last(running).0.and_then(|last| last.failed).or(self.failed);
        Tells { root, failed: failed.and_then(|(_, slot)| slot) }
    }

    fn state(&self, running: &Running, open: &EnvSet, is_active: bool, death: &Death) -> TraceState {
        let is_running = is_active && *death == Death::StillRunning;
        let (last, recoveries) = self.last(running);
        match last {
            Some(env) if env.failed.is_some() => TraceState::Failed,
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

impl Places {
    /// The envs of a trace, by their places.
    fn of(&self, trace: TraceId) -> impl Iterator<Item = u32> + '_ {
        let by_trace = self.by_trace.get_or_init(|| {
            let envs = (0..).zip(&self.envs);
            let mut all: Vec<_> =
                envs.filter_map(|(place, (_, trace))| Some((self.traces[place_of((*trace)?)], place))).collect();
            all.sort_unstable();
            all
        });
        let from = by_trace.partition_point(|(other, _)| *other < trace);
        by_trace[from..].iter().take_while(move |(other, _)| *other == trace).map(|(_, place)| *place)
    }

    /// The envs of a trace.
    pub(super) fn envs(&self, trace: TraceId) -> impl Iterator<Item = u64> + '_ {
        self.of(trace).map(|place| self.envs[place_of(place)].0)
    }

    /// The envs whose own records are not there, and whose traces are known all the same.
    pub(super) fn known(&self) -> impl Iterator<Item = (TraceId, EnvId)> + '_ {
        self.known.iter().copied()
    }

    /// The last of the pages that have records of a trace, until they have so many.
    pub(super) fn newest_pages(&self, trace: TraceId, at_least: u64, scan: &Scan<'_>) -> Vec<u32> {
        let mut records: HashMap<u32, u64> = HashMap::new();
        for env in self.of(trace) {
            let stretches = self.stretches_of(env);
            stretches.for_each(|of| *records.entry(of.page).or_default() += (of.to - of.from).max(1));
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
        let turns = self.turns.iter().filter(|(other, _)| *other == trace).filter_map(|(_, slot)| scan.place_of(*slot));
        let mut pages: Vec<u32> = self.of(trace).flat_map(of_env).chain(turns).collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
}
