//! Counts over records, and how each trace stands.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, FrameId, TraceId};
use crate::record::{Cause, Record};
use crate::status::Status;
use crate::strict::StrictEnv;

/// What a tracer holds and what it lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Records held: envs, steps and notes.
    pub total_records: usize,
    /// Traces of which a step may still come.
    pub active_traces: usize,
    /// Records lost since the tracer was made: evicted, refused by a full queue, failed to be written. And, of the
    /// whole process since then, calls made where no tracer can be asked for: inside of a recorder or a clock, or by a
    /// thread whose thread-locals are gone.
    pub dropped: u64,
    /// Missing edges of declared flows, since the tracer was made.
    pub violations: u64,
    /// Every trace held, oldest first.
    pub traces: Vec<TraceStats>,
}

/// One trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceStats {
    /// Its id.
    pub trace_id: TraceId,
    /// Records held of it.
    pub records: usize,
    /// Steps among them.
    pub steps: usize,
    /// Envs among them.
    pub envs: usize,
    /// How it stands.
    pub state: TraceState,
    /// Steps known to be missing: gaps in the numbers of its envs.
    pub lost: u64,
}

/// How a trace stands: the root env, followed through its recoveries to the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TraceState {
    /// A node is open, or a step may still come.
    Running,
    /// Nothing is open, and no error ended it.
    Ok,
    /// Likewise, after an error that was handled.
    Recovered,
    /// An error ended it.
    Failed,
    /// Something is open in a process that is gone.
    Lost,
}

impl Stats {
    pub(crate) fn of(records: &[Record], active: &[TraceId], dropped: u64, violations: u64) -> Self {
        let active: HashSet<_> = active.iter().copied().collect();
        let traces: Vec<_> = by_trace(records)
            .into_iter()
            .map(|(id, records)| TraceStats::of_trace(id, &records, active.contains(&id)))
            .collect();
        Self { total_records: records.len(), active_traces: active.len(), dropped, violations, traces }
    }
}

/// Records grouped by trace, in the order of the first of each.
pub(crate) fn by_trace(records: &[Record]) -> Vec<(TraceId, Vec<&Record>)> {
    let mut places = HashMap::new();
    let mut traces: Vec<(TraceId, Vec<&Record>)> = Vec::new();
    for record in records {
        let id = record.trace_id();
        let place = *places.entry(id).or_insert_with(|| {
            traces.push((id, Vec::new()));
            traces.len() - 1
        });
        traces[place].1.push(record);
    }
    traces
}

impl TraceStats {
    /// Counts over the traces among `records`, in the order of their first records. `active` says of which a step may
    /// still come.
    pub fn of(records: &[Record], active: &[TraceId]) -> Vec<Self> {
        Stats::of(records, active, 0, 0).traces
    }

    fn of_trace(trace_id: TraceId, records: &[&Record], active: bool) -> Self {
        let steps = records.iter().filter(|record| record.as_step().is_some()).count();
        let envs = records.iter().filter(|record| record.as_env().is_some()).count();
        let mut last: HashMap<EnvId, u64> = HashMap::new();
        for step in records.iter().filter_map(|record| record.as_step()) {
            let last = last.entry(step.env_id).or_default();
            *last = step.step_id.max(*last);
        }
        let lost = last.values().sum::<u64>().saturating_sub(steps as u64);
        Self { trace_id, records: records.len(), steps, envs, state: TraceState::of(records, active), lost }
    }
}

impl TraceState {
    /// How the trace of these records stands, if a step may still come (`active`) or not.
    pub(crate) fn of(records: &[&Record], active: bool) -> Self {
        let mut env = records.iter().find_map(|record| record.as_env().filter(|env| env.cause == Cause::Root));
        let recoveries = records.iter().filter_map(|record| record.as_env().filter(|env| env.cause == Cause::Recovery));
        let mut successors: HashMap<_, _> = recoveries.map(|env| (env.parent_env, env)).collect();
        let mut recovered = false;
        // Taken out, so that records which are no trace of ours cannot lead in a circle.
        while let Some(next) = env.and_then(|current| successors.remove(&Some(current.env_id))) {
            recovered = true;
            env = Some(next);
        }
        let Some(last) = env else { return if active { Self::Running } else { Self::Lost } };
        let mut open: HashSet<Option<FrameId>> = HashSet::new();
        let mut manual = StrictEnv::default();
        for step in records.iter().filter_map(|record| record.as_step()).filter(|step| step.env_id == last.env_id) {
            if step.status == Status::Error {
                return Self::Failed;
            }
            match (step.frame, step.status) {
                // Only whether something is open counts here; what is missing of a trimmed env is no news.
                (None, status) => drop(manual.step(manual.steps(), &step.node, status)),
                (frame, Status::Enter) => drop(open.insert(frame)),
                (frame, _) => drop(open.remove(&frame)),
            }
        }
        match (active, open.is_empty() && manual.entered().next().is_none(), recovered) {
            (true, _, _) => Self::Running,
            (false, false, _) => Self::Lost,
            (false, true, true) => Self::Recovered,
            (false, true, false) => Self::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record;

    /// One trace, and so many recoveries that looking through all records for each would take minutes.
    #[test]
    fn a_trace_of_many_recoveries_is_counted_in_time() {
        fn env(id: u64, parent: Option<u64>) -> Record {
            let cause = if parent.is_some() { "recovery" } else { "root" };
            let parent = parent.map(|id| format!("{id:016x}"));
            let json = serde_json::json!({
                "type": "env", "schema": record::SCHEMA, "trace_id": format!("{:032x}", 1), "env_id": format!("{id:016x}"),
                "step_id": 0, "seq": id, "ts": "0", "source": "test", "cause": cause, "parent_env": parent,
            });
            serde_json::from_value(json).unwrap()
        }
        let mut records: Vec<_> = (1..100_000).map(|id| env(id, id.checked_sub(1).filter(|id| *id > 0))).collect();
        let stats = Stats::of(&records, &[], 0, 0);
        assert_eq!((stats.traces[0].envs, stats.traces[0].state), (99_999, TraceState::Recovered));

        // Not made by a tracer: each succeeds the other.
        records = vec![env(1, None), env(2, Some(1)), env(3, Some(2)), env(2, Some(3))];
        assert_eq!(Stats::of(&records, &[], 0, 0).traces[0].state, TraceState::Recovered);
    }
}
