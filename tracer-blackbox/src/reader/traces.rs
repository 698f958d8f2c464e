//! The traces of a file: how each stands, and where its records are.

use std::collections::HashSet;

use tracer::recorder::Times;
use tracer::{EnvId, TraceId, TraceState};

use super::Death;
use super::contents::{Contents, Seen, Stretch, TraceMap};
use super::gaps::Gap;
use super::open::{Env, Open, Running};
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
    /// By trace.
    envs: Vec<(TraceId, u64)>,
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
    seen: Option<Seen>,
    envs: u64,
    lost_steps: u64,
    root: Option<u64>,
    /// The first error.
    failed: Option<(u64, Option<Slot>)>,
}

impl Traces {
    pub(super) fn new(contents: Contents, running: Running, open: &[Open], times: &Times, death: &Death) -> Self {
        let mut traces =
            Self { all: Vec::new(), places: Places::default(), gaps: Vec::new(), records: 0, tells: Vec::new() };
        let mut gathered: Vec<Gathered> = Vec::new();
        let mut by_id: TraceMap<usize> = TraceMap::default();
        by_id.reserve(running.envs.len());
        let missing = missing(&contents.stretches);
        let mut orphans = 0;
        for env in &running.envs {
            let seen = contents.envs.get(&env.id);
            let Some(trace) = env.trace else {
                orphans += seen.map_or(0, |seen| seen.records);
                continue;
            };
            let at = *by_id.entry(trace).or_insert_with(|| {
                gathered.push(Gathered { id: trace, seen: None, envs: 0, lost_steps: 0, root: None, failed: None });
                gathered.len() - 1
            });
            let of = &mut gathered[at];
            of.envs += 1;
            of.root = of.root.or(env.is_root.then_some(env.id));
            let first = |one: (u64, Option<Slot>), other: Option<(u64, Option<Slot>)>| {
                other.filter(|other| other.0 < one.0).unwrap_or(one)
            };
            of.failed = env.failed.map(|failed| first(failed, of.failed)).or(of.failed);
            if let Some(seen) = seen {
                of.lost_steps += seen.end.saturating_sub(1).saturating_sub(seen.steps);
                of.seen = Some(of.seen.map_or(*seen, |mut all| {
                    all.add(seen);
                    all
                }));
            }
            traces.places.envs.push((trace, env.id));
        }
        // Of those no entry is of that is written in full.
        orphans += contents
            .envs
            .iter()
            .filter(|(env, _)| running.get(**env).is_none())
            .map(|(_, seen)| seen.records)
            .sum::<u64>();
        for (env, from, to) in missing {
            let Some(trace_id) = running.get(env).and_then(|env| env.trace) else { continue };
            let Some(env_id) = EnvId::new(env) else { continue };
            if traces.gaps.len() < STEP_GAPS_MAX {
                traces.gaps.push(Gap::Steps { trace_id, env_id, from, to });
            }
        }
        if orphans > 0 {
            traces.gaps.push(Gap::Orphans { records: orphans });
        }
        // Those of which only blocks know have lost their records: they are the oldest.
        gathered.sort_unstable_by_key(|of| (of.seen.map_or(0, |seen| seen.first_seq), of.id));
        let open_envs: HashSet<EnvId> = open.iter().map(|open| open.env).collect();
        traces.records = gathered.iter().filter_map(|of| of.seen).map(|seen| seen.records).sum();
        traces.all = gathered.iter().map(|of| of.summary(&running, &open_envs, times, death)).collect();
        traces.tells = gathered.iter().map(|of| of.tells(&running)).collect();
        traces.places.envs.sort_unstable();
        traces.places.stretches = contents.stretches;
        traces.places.known = running.known().collect();
        traces.places.turns = running.turns;
        traces
    }
}

/// Steps that are missing between others, or before the first: of each env from the one to the other.
fn missing(stretches: &[Stretch]) -> Vec<(u64, u64, u64)> {
    let mut missing = Vec::new();
    let mut before = (0, 0);
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
    fn summary(&self, running: &Running, open: &HashSet<EnvId>, times: &Times, death: &Death) -> TraceSummary {
        let is_active = !running.is_over(self.id);
        let count = |of: fn(&Seen) -> u64| self.seen.as_ref().map_or(0, of);
        let time = |of: fn(&Seen) -> u64| self.seen.as_ref().map_or(0, |seen| times.unix_ns(of(seen)));
        TraceSummary {
            trace_id: self.id,
            state: self.state(running, open, is_active, death),
            is_active,
            records: count(|seen| seen.records),
            steps: count(|seen| seen.steps),
            envs: count(|seen| seen.envs),
            spans: count(|seen| seen.spans),
            lost_steps: self.lost_steps,
            first_unix_ns: time(|seen| seen.first_ticks),
            last_unix_ns: time(|seen| seen.last_ticks),
        }
    }

    /// The root env, followed through its recoveries to the last one; and how many these are.
    fn last<'r>(&self, running: &'r Running) -> (Option<&'r Env>, u64) {
        let mut last = self.root.and_then(|root| running.get(root));
        let mut recoveries = 0;
        // As many as there are envs: what is no trace of ours may lead in a circle.
        while let Some(next) = last.and_then(|env| running.get(env.successor?)).filter(|_| recoveries < self.envs) {
            recoveries += 1;
            last = Some(next);
        }
        (last, recoveries)
    }

    /// Its own record, and the step that says most about how it failed: the one that ended it, or the first.
    fn tells(&self, running: &Running) -> Tells {
        let root = self.root.and_then(|root| running.get(root)?.record);
        let failed = self.last(running).0.and_then(|last| last.failed).or(self.failed);
        Tells { root, failed: failed.and_then(|(_, slot)| slot) }
    }

    fn state(&self, running: &Running, open: &HashSet<EnvId>, is_active: bool, death: &Death) -> TraceState {
        let is_running = is_active && *death == Death::StillRunning;
        let (last, recoveries) = self.last(running);
        match last {
            Some(env) if env.failed.is_some() => TraceState::Failed,
            _ if is_running => TraceState::Running,
            None => TraceState::Lost,
            Some(env) if EnvId::new(env.id).is_some_and(|env| open.contains(&env)) => TraceState::Lost,
            // Between two nodes nothing is open, and it is not over.
            Some(_) if is_active && !matches!(death, Death::Clean { .. }) => TraceState::Lost,
            Some(_) if recoveries > 0 => TraceState::Recovered,
            Some(_) => TraceState::Ok,
        }
    }
}

impl Places {
    /// The envs of a trace.
    pub(super) fn envs(&self, trace: TraceId) -> impl Iterator<Item = u64> + '_ {
        let from = self.envs.partition_point(|(other, _)| *other < trace);
        self.envs[from..].iter().take_while(move |(other, _)| *other == trace).map(|(_, env)| *env)
    }

    /// The envs whose own records are not there, and whose traces are known all the same.
    pub(super) fn known(&self) -> impl Iterator<Item = (TraceId, EnvId)> + '_ {
        self.known.iter().copied()
    }

    /// The pages that have records of a trace.
    pub(super) fn pages(&self, trace: TraceId, scan: &Scan<'_>) -> Vec<u32> {
        let of_env = |env: u64| {
            let from = self.stretches.partition_point(|stretch| stretch.env < env);
            self.stretches[from..].iter().take_while(move |stretch| stretch.env == env).map(|stretch| stretch.page)
        };
        let turns = self.turns.iter().filter(|(other, _)| *other == trace).filter_map(|(_, slot)| scan.place_of(*slot));
        let mut pages: Vec<u32> = self.envs(trace).flat_map(of_env).chain(turns).collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
}
