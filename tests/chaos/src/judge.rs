//! Says what must not have happened: a pure function of the history and what is in the store at the end. It knows the
//! promises, and none of the code that keeps them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use tracer::execution::{Execution, ExecutionId, ExecutionStatus};

use crate::history::{Entry, Fact, Moment, nanos};
use crate::work::{EFFECTS, KEYED, LEASE, OF_ONE_KEY, timeout_of};

/// An execution, as it is in the store at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Last {
    /// Which.
    pub id: ExecutionId,
    /// Its type.
    pub kind: String,
    /// Where it is in its life.
    pub status: ExecutionStatus,
    /// How many attempts count.
    pub attempts: u32,
    /// How many may.
    pub max_attempts: u32,
    /// How many there were.
    pub epoch: u64,
    /// How many changes there were.
    pub version: u64,
    /// The attempt whose result it has.
    pub result: Option<u64>,
}

impl From<&Execution> for Last {
    fn from(execution: &Execution) -> Self {
        let Execution { id, status, attempts, max_attempts, epoch, version, .. } = *execution;
        let result = execution.result.as_ref().and_then(|result| result["epoch"].as_u64());
        Self { id, kind: execution.type_.clone(), status, attempts, max_attempts, epoch, version, result }
    }
}

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What was created is there.
    NoneLost,
    /// What is there was created, once.
    NoneInvented,
    /// Everything comes to an end.
    NoneStuck,
    /// One attempt completes an execution.
    CompletedOnce,
    /// What was acknowledged is so.
    AcknowledgedIsKept,
    /// After another attempt has begun, nothing is accepted from the one before.
    NoStaleWrite,
    /// An attempt is of one worker, and later ones have higher epochs.
    OneOwner,
    /// Nobody takes over what somebody else holds: an attempt that has not ended has its lease, from when it was asked for.
    SingleOwner,
    /// No more attempts than there may be; each that began and was not given back counts, and nothing else.
    AttemptsCount,
    /// No more with one key run at once in a worker than may.
    FewOfOneKey,
    /// An effect that is to happen at most once does.
    AtMostOnce,
    /// What was kept is not done again.
    KeptIsNotRepeated,
    /// What has completed has had its effects.
    EffectsHappened,
    /// Each change has the next version.
    VersionsRise,
    /// What changes does so as the table says; what has ended does not.
    Transitions,
}

/// It has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// What must not.
    pub rule: Rule,
    /// To which execution.
    pub id: ExecutionId,
    /// More of it.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.rule, self.id, self.text)
    }
}

/// What is known of one execution.
#[derive(Default)]
struct Known<'a> {
    /// Its type, once it was created.
    created: Option<&'a str>,
    cancelled: bool,
    claims: Vec<(&'a Entry, u64, u32, u64)>,
    beginning: BTreeSet<u64>,
    releasing: BTreeSet<u64>,
    accepted: Vec<Accepted<'a>>,
    /// Ends that were sent: under which epoch and when, and whether they were refused.
    ends: BTreeMap<(u64, Moment), bool>,
    /// Likewise heartbeats, and what they were answered.
    beats: BTreeMap<(u64, Moment), Option<Answered>>,
    effects: Vec<(&'a Entry, u64, &'a str, bool)>,
    seen: Vec<(&'a Entry, ExecutionStatus, u64)>,
}

#[derive(Clone, Copy)]
struct Answered {
    at: Moment,
    is_held: bool,
}

struct Accepted<'a> {
    entry: &'a Entry,
    epoch: u64,
    command: &'a str,
    version: Option<u64>,
    kept: Option<&'a str>,
}

/// Whether it has ended, for good here: nobody drives anything anew.
fn is_end(status: ExecutionStatus) -> bool {
    use ExecutionStatus as S;
    matches!(status, S::Completed | S::Failed | S::Cancelled | S::TimedOut)
}

/// What may follow on what, by one change.
fn may_follow(from: ExecutionStatus, to: ExecutionStatus) -> bool {
    use ExecutionStatus as S;
    match from {
        S::Pending => matches!(to, S::Running | S::Cancelled),
        // To itself by checkpoints, progress and the request to stop.
        S::Running => to != S::Pending,
        S::Retrying => matches!(to, S::Running | S::Failed | S::Cancelled),
        _ => false,
    }
}

/// Whether an attempt is over once the store has accepted this.
fn ends_attempt(command: &str) -> bool {
    matches!(command, "complete" | "fail" | "cancel" | "release" | "time out")
}

/// All that must not have happened and has. `doubt` is how much two may differ on what the store's time is.
pub fn judge(history: &[Entry], last: &[Last], doubt: Duration) -> Vec<Violation> {
    let known = known(history);
    let mut violations = Vec::new();
    let mut by_id: HashMap<ExecutionId, &Last> = HashMap::new();
    for one in last {
        let twice = by_id.insert(one.id, one).is_some();
        if twice || known.get(&one.id).is_none_or(|known| known.created.is_none()) {
            let text = if twice { "it is there twice" } else { "nobody has created it" };
            violations.push(Violation { rule: Rule::NoneInvented, id: one.id, text: text.to_owned() });
        }
    }
    for (&id, known) in &known {
        let mut violate = |rule, text| violations.push(Violation { rule, id, text });
        known.check_owners(&mut violate);
        known.check_leases(doubt, &mut violate);
        known.check_writes(&mut violate);
        known.check_effects(&mut violate);
        known.check_sightings(by_id.get(&id).copied(), &mut violate);
        match by_id.get(&id) {
            Some(last) => known.check_last(last, &mut violate),
            None if known.created.is_some() => violate(Rule::NoneLost, "it is not in the store".to_owned()),
            None => {}
        }
    }
    violations.extend(crowds(history));
    violations
}

/// What ran beside more with its key, in the same worker, than may.
fn crowds(history: &[Entry]) -> impl Iterator<Item = Violation> {
    let crowded = beside(history).into_iter().filter(|(_, _, others)| *others >= OF_ONE_KEY);
    crowded.map(|(id, of, others)| {
        let text = format!("{} ran it beside {others} others with the key {}", of.0, of.1);
        Violation { rule: Rule::FewOfOneKey, id, text }
    })
}

/// How many with one key were seen to run at once in one worker, at most.
pub fn most_of_one_key(history: &[Entry]) -> usize {
    beside(history).into_iter().map(|(_, _, others)| others + 1).max().unwrap_or(0)
}

/// What has run with a key: in which worker, with which, and beside how many that began before.
fn beside(history: &[Entry]) -> Vec<(ExecutionId, (&str, &str), usize)> {
    let mut runs: BTreeMap<(&str, &str), Vec<(&Entry, ExecutionId)>> = BTreeMap::new();
    for entry in history {
        if let Fact::Ran { id, key } = &entry.fact {
            runs.entry((&entry.by, key)).or_default().push((entry, *id));
        }
    }
    let mut beside = Vec::new();
    for (of, mut runs) in runs {
        runs.sort_unstable_by_key(|(entry, _)| entry.from);
        for (number, (run, id)) in runs.iter().enumerate() {
            let others = runs[..number].iter().filter(|(before, _)| before.to > run.from).count();
            beside.push((*id, of, others));
        }
    }
    beside
}

fn known(history: &[Entry]) -> BTreeMap<ExecutionId, Known<'_>> {
    let mut all: BTreeMap<ExecutionId, Known<'_>> = BTreeMap::new();
    for entry in history {
        match &entry.fact {
            Fact::Created { id, kind } => all.entry(*id).or_default().created = Some(kind),
            Fact::Cancelling { id } => all.entry(*id).or_default().cancelled = true,
            Fact::Claimed { id, epoch, attempts, version } => {
                all.entry(*id).or_default().claims.push((entry, *epoch, *attempts, *version));
            }
            Fact::Writing { id, epoch, command } => {
                let known = all.entry(*id).or_default();
                match &**command {
                    "begin" => drop(known.beginning.insert(*epoch)),
                    "release" => drop(known.releasing.insert(*epoch)),
                    _ => {}
                }
                if ends_attempt(command) {
                    known.ends.entry((*epoch, entry.from)).or_insert(false);
                }
            }
            Fact::Accepted { id, epoch: Some(epoch), command, version, kept } => {
                let (version, kept) = (*version, kept.as_deref());
                let (known, epoch) = (all.entry(*id).or_default(), *epoch);
                if ends_attempt(command) {
                    known.ends.entry((epoch, entry.from)).or_insert(false);
                }
                known.accepted.push(Accepted { entry, epoch, command, version, kept });
            }
            Fact::Refused { id, epoch: Some(epoch), command, .. } if ends_attempt(command) => {
                all.entry(*id).or_default().ends.insert((*epoch, entry.from), true);
            }
            Fact::Extending { id, epoch } => {
                all.entry(*id).or_default().beats.entry((*epoch, entry.from)).or_default();
            }
            Fact::Extended { id, epoch, is_held } => {
                let answered = Answered { at: entry.to, is_held: *is_held };
                all.entry(*id).or_default().beats.insert((*epoch, entry.from), Some(answered));
            }
            Fact::Effect { id, epoch, effect, at_most_once } => {
                all.entry(*id).or_default().effects.push((entry, *epoch, effect, *at_most_once));
            }
            Fact::Seen { id, status, version, .. } => {
                all.entry(*id).or_default().seen.push((entry, *status, *version));
            }
            _ => {}
        }
    }
    all
}

impl Known<'_> {
    fn check_owners(&self, violate: &mut impl FnMut(Rule, String)) {
        for (number, (one, epoch, ..)) in self.claims.iter().enumerate() {
            for (other, later, ..) in &self.claims[number + 1..] {
                if epoch == later {
                    let text = format!("{} and {} both have attempt {epoch}", one.by, other.by);
                    violate(Rule::OneOwner, text);
                } else if epoch > later && one.to < other.from {
                    violate(Rule::OneOwner, format!("attempt {later} began after attempt {epoch}"));
                }
            }
        }
    }

    /// An end that was sent may have been accepted unless it was refused: who would have been told may have died. What was
    /// called off ends, too, but nobody has it after that.
    fn check_leases(&self, doubt: Duration, violate: &mut impl FnMut(Rule, String)) {
        for (claim, epoch, ..) in &self.claims {
            let later = self.claims.iter().filter(|(_, later, ..)| later > epoch);
            let Some((next, later, ..)) = later.min_by_key(|(next, ..)| next.to) else { continue };
            let mut ends = self.ends.range((*epoch, 0)..=(*epoch, next.to));
            if ends.any(|(_, is_refused)| !is_refused) {
                continue;
            }
            let until = self.held_until(claim, *epoch).saturating_sub(nanos(doubt));
            if let Some(early) = until.checked_sub(next.to).filter(|early| *early > 0) {
                let early = Duration::from_nanos(early);
                let text = format!("{} had attempt {later} {early:?} before {} could lose {epoch}", next.by, claim.by);
                violate(Rule::SingleOwner, text);
            }
        }
    }

    /// Until when nobody may take this attempt over that does not end, at least.
    fn held_until(&self, claim: &Entry, epoch: u64) -> Moment {
        let beats =
            || self.beats.range((epoch, 0)..=(epoch, Moment::MAX)).map(|((_, from), answered)| (*from, *answered));
        let held = beats().filter(|(_, answered)| answered.is_some_and(|answered| answered.is_held));
        // One that was on its way meanwhile may have come after it, with the time of when it was sent.
        let on_its_way = |(from, answered): &(Moment, Option<Answered>), at| {
            *from <= at && answered.is_none_or(|answered| answered.is_held && answered.at >= at)
        };
        let asked = held.filter_map(|(at, _)| Some(beats().find(|beat| on_its_way(beat, at))?.0));
        let until = asked.fold(claim.from, Moment::max) + nanos(LEASE);
        match self.created.and_then(timeout_of) {
            Some(timeout) => until.min(claim.from + nanos(timeout)),
            None => until,
        }
    }

    fn check_writes(&self, violate: &mut impl FnMut(Rule, String)) {
        for write in &self.accepted {
            let later =
                self.claims.iter().find(|(claim, epoch, ..)| *epoch > write.epoch && claim.to < write.entry.from);
            if let Some((claim, later, ..)) = later {
                let Accepted { entry, epoch, command, .. } = write;
                let text = format!("{} could {command} under attempt {epoch} after {} had {later}", entry.by, claim.by);
                violate(Rule::NoStaleWrite, text);
            }
        }
        let complete = self.accepted.iter().filter(|write| write.command == "complete").map(|write| write.epoch);
        let complete: BTreeSet<u64> = complete.collect();
        if complete.len() > 1 {
            violate(Rule::CompletedOnce, format!("by the attempts {complete:?}"));
        }
        let mut versions: Vec<(u64, u64)> =
            self.claims.iter().map(|(_, epoch, _, version)| (*version, *epoch)).collect();
        // What has begun does not begin again: whoever asks twice is answered the same.
        let (begun, others): (Vec<_>, Vec<_>) = self.accepted.iter().partition(|write| write.command == "begin");
        let version = |write: &Accepted<'_>| Some((write.version?, write.epoch));
        versions.extend(begun.into_iter().filter_map(version).collect::<BTreeSet<_>>());
        versions.extend(others.into_iter().filter_map(version));
        versions.sort_unstable();
        for pair in versions.windows(2) {
            let [(version, epoch), (next, later)] = pair else { continue };
            // Between two writes of one attempt there is nobody else's, unless it was called off.
            let has_gap = epoch == later && next - version > 1 && !self.cancelled;
            if next == version || has_gap || later < epoch {
                let text = format!("{next} of attempt {later} follows on {version} of attempt {epoch}");
                violate(Rule::VersionsRise, text);
            }
        }
    }

    fn check_effects(&self, violate: &mut impl FnMut(Rule, String)) {
        let mut once: BTreeMap<&str, u32> = BTreeMap::new();
        for (entry, epoch, effect, at_most_once) in &self.effects {
            if *at_most_once {
                *once.entry(effect).or_default() += 1;
            }
            // A stale attempt may still be at it: it has not been told yet.
            let kept = self.accepted.iter().find(|write| write.kept == Some(effect) && write.epoch < *epoch);
            if let Some(kept) = kept {
                let text =
                    format!("{effect} by attempt {epoch} in {}, though attempt {} has kept it", entry.by, kept.epoch);
                violate(Rule::KeptIsNotRepeated, text);
            }
        }
        for (effect, times) in once {
            if times > 1 {
                violate(Rule::AtMostOnce, format!("{effect}, {times} times"));
            }
        }
    }

    /// One reads one after the other, so what is seen later is not older.
    fn check_sightings(&self, last: Option<&Last>, violate: &mut impl FnMut(Rule, String)) {
        let seen = self.seen.iter().map(|(_, status, version)| (*status, *version));
        let seen: Vec<_> = seen.chain(last.map(|last| (last.status, last.version))).collect();
        for pair in seen.windows(2) {
            let [(from, version), (to, next)] = *pair else { continue };
            let follows = match next.checked_sub(version) {
                Some(0) => from == to,
                Some(1) => may_follow(from, to),
                Some(_) => !is_end(from),
                None => false,
            };
            if !follows {
                violate(Rule::Transitions, format!("{to} at version {next} follows on {from} at version {version}"));
            }
        }
    }

    fn check_last(&self, last: &Last, violate: &mut impl FnMut(Rule, String)) {
        if !is_end(last.status) {
            violate(Rule::NoneStuck, format!("it is {} after {} attempts", last.status, last.attempts));
        }
        for write in self.accepted.iter().filter(|write| write.command == "complete") {
            if last.status != ExecutionStatus::Completed || last.result != Some(write.epoch) {
                let text = format!(
                    "attempt {} has completed it; it is {}, with the result of {:?}",
                    write.epoch, last.status, last.result
                );
                violate(Rule::AcknowledgedIsKept, text);
            }
        }
        if last.status == ExecutionStatus::Completed && last.result != Some(last.epoch) {
            let text = format!("after attempt {} it has the result of {:?}", last.epoch, last.result);
            violate(Rule::NoStaleWrite, text);
        }
        self.check_attempts(last, violate);
        if last.status == ExecutionStatus::Completed && last.kind == "effects" {
            for effect in EFFECTS {
                if !self.effects.iter().any(|(_, _, had, _)| *had == effect) {
                    violate(Rule::EffectsHappened, format!("it has completed without {effect}"));
                }
            }
        }
    }

    fn check_attempts(&self, last: &Last, violate: &mut impl FnMut(Rule, String)) {
        let most = self.claims.iter().map(|(_, _, attempts, _)| *attempts).chain([last.attempts]).max().unwrap_or(0);
        if most > last.max_attempts {
            violate(Rule::AttemptsCount, format!("{most} of {}", last.max_attempts));
        }
        let counted = u64::from(last.attempts);
        // Nobody knows whether what was about to begin has, unless it was acknowledged.
        let is_attempt = |epoch: &u64| last.kind != KEYED || self.beginning.contains(epoch);
        let (began, may_have_begun) = match &*last.kind {
            KEYED => (self.acknowledged("begin").len() as u64, self.beginning.len() as u64),
            _ => (last.epoch, last.epoch),
        };
        let released = self.acknowledged("release").into_iter().filter(is_attempt).count() as u64;
        let releasing = self.releasing.iter().copied().filter(is_attempt).count() as u64;
        let is_right = counted + released <= may_have_begun && began <= counted + releasing;
        if !is_right {
            let text = format!(
                "{began} to {may_have_begun} attempts began, {released} to {releasing} were given back, {counted} are counted"
            );
            violate(Rule::AttemptsCount, text);
        }
    }

    /// The attempts of which the store has accepted this.
    fn acknowledged(&self, command: &str) -> BTreeSet<u64> {
        self.accepted.iter().filter(|write| write.command == command).map(|write| write.epoch).collect()
    }
}

/// How long after the death of a worker each of its attempts was followed by another's.
pub fn recoveries(history: &[Entry]) -> Vec<Duration> {
    let mut deaths: HashMap<&str, Moment> = HashMap::new();
    let mut held: HashMap<(ExecutionId, u64), &str> = HashMap::new();
    let mut claims: HashMap<(ExecutionId, u64), Moment> = HashMap::new();
    for entry in history {
        match &entry.fact {
            Fact::Killed { worker } => drop(deaths.insert(worker, entry.to)),
            Fact::Claimed { id, epoch, .. } => {
                held.insert((*id, *epoch), &entry.by);
                claims.insert((*id, *epoch), entry.to);
            }
            _ => {}
        }
    }
    // What had come to its end before is no one's. The order of the history is no help: look at all of it first.
    for entry in history {
        if let Fact::Accepted { id, epoch: Some(epoch), command, .. } = &entry.fact
            && !(command.contains("checkpoint") || command == "begin")
        {
            held.remove(&(*id, *epoch));
        }
    }
    let recovered = held.iter().filter_map(|((id, epoch), worker)| {
        let (death, next) = (deaths.get(worker)?, claims.get(&(*id, epoch + 1))?);
        next.checked_sub(*death).map(Duration::from_nanos)
    });
    let mut recovered: Vec<Duration> = recovered.collect();
    recovered.sort_unstable();
    recovered
}

#[cfg(test)]
mod tests;
