//! A run: executions come in, workers work, faults happen; then there is calm, and all is judged.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use tracer::execution::{DynStore, ExecutionError, ExecutionId, ExecutionManager, ExecutionStatus, ListOptions};

use crate::history::{self, Fact, Log, Moment, day_ahead, nanos, now};
use crate::judge::{self, Last, Rule, Violation};
use crate::server::{World, skew};
use crate::target::{Kind, Target};
use crate::work::{self, KINDS, LEASE, LONG, LONG_MAX, POISON, WAIT_MAX};

/// How many workers there are.
const WORKERS: usize = 8;
/// How many executions are created at once.
const BATCH: usize = 100;
/// How many of those that kill their workers there are.
const POISONS: usize = 4;
/// How many of those there are that only heartbeats keep.
const LONGS: usize = 20;
/// How long nothing may happen to an execution that has not ended: its lease, the time it may take, its wait, a sweep;
/// and as long again for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2 * (LEASE.as_secs() + LONG_MAX.as_secs() + WAIT_MAX.as_secs() + 3));
/// How wrong the clocks of workers are at most.
const SKEW_S: i64 = 3600;

/// What is to happen.
#[derive(Debug, Clone)]
pub struct Plan {
    /// On which store.
    pub kind: Kind,
    /// How many executions.
    pub executions: usize,
    /// For how long there are faults.
    pub faults: Duration,
    /// What faults there are depends on it.
    pub seed: u64,
    /// How the workers' store is broken.
    pub broken: Option<String>,
}

/// What has happened.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    facts: BTreeMap<&'static str, usize>,
    ends: BTreeMap<String, usize>,
    recoveries: Vec<Duration>,
    took: Duration,
    /// What must not have.
    pub violations: Vec<Violation>,
    /// The history is kept here, if anything must not have.
    pub directory: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { kind, executions, seed, .. } = &self.plan;
        writeln!(f, "{}: {executions} executions in {:.0} s, seed {seed}", kind.name(), self.took.as_secs_f64())?;
        let counts = |counts: Vec<String>| counts.join(", ");
        writeln!(f, "  {}", counts(self.facts.iter().map(|(what, count)| format!("{count} {what}")).collect()))?;
        writeln!(f, "  ends: {}", counts(self.ends.iter().map(|(what, count)| format!("{count} {what}")).collect()))?;
        if let (Some(longest), false) = (self.recoveries.last(), self.recoveries.is_empty()) {
            let half = self.recoveries[self.recoveries.len() / 2].as_secs_f64();
            let count = self.recoveries.len();
            let longest = longest.as_secs_f64();
            writeln!(
                f,
                "  {count} attempts of killed workers followed by others: half within {half:.2} s, all within {longest:.2} s, under leases of {} s",
                LEASE.as_secs()
            )?;
        }
        write!(f, "  violations: {}", self.violations.len())?;
        let mut rules: BTreeMap<Rule, usize> = BTreeMap::new();
        self.violations.iter().for_each(|violation| *rules.entry(violation.rule).or_default() += 1);
        for (rule, count) in rules {
            write!(f, ", {count} of {rule:?}")?;
        }
        for violation in self.violations.iter().take(20) {
            write!(f, "\n    {violation}")?;
        }
        if let Some(directory) = &self.directory {
            write!(f, "\n  the history is in {}", directory.display())?;
        }
        Ok(())
    }
}

/// A worker process, and the ones that take its place.
struct Slot {
    number: usize,
    generation: usize,
    child: Option<Child>,
    stopped_until: Option<(Moment, Moment)>,
    starts_at: Moment,
}

impl Slot {
    fn name(&self) -> String {
        format!("worker-{}-{}", self.number, self.generation)
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.as_ref()?.id()).ok()?)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // One that has just ended by itself is as good as told.
            let _ = kill_process(pid, signal);
        }
    }
}

/// A run that panics leaves nobody behind: one that is stopped would not see that its driver is gone.
impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Stopped or not, it cannot refuse.
            drop((child.kill(), child.wait()));
        }
    }
}

/// What all parts of a run have.
struct Stage {
    plan: Plan,
    directory: PathBuf,
    target: Target,
    log: Log,
    /// None: the workers' clocks have to be right.
    skew: Option<PathBuf>,
    /// How far the time of day was ahead when it began.
    ahead: Moment,
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Stage {
    /// Starts the worker of this slot, with a clock that is wrong where it does not matter.
    fn start(&self, slot: &mut Slot, rng: &mut Rng) -> io::Result<()> {
        slot.generation += 1;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", &self.target.to_string(), &slot.name()]).arg(&self.directory);
        command.args(self.plan.broken.iter());
        if let Some(skew) = &self.skew {
            command.env("LD_PRELOAD", skew).env("TRACER_SKEW_S", rng.i64(-SKEW_S..=SKEW_S).to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        slot.child = Some(command.spawn()?);
        Ok(())
    }

    /// Opens the store for this process, however long that takes, as long as there is a server.
    async fn open(&self, world: &World) -> ExecutionManager<DynStore> {
        loop {
            match self.target.open().await {
                Ok(store) => return ExecutionManager::new(store),
                Err(_) => world.must_run(),
            }
            sleep_ms(100).await;
        }
    }
}

/// Repeats what can be, until it is answered.
async fn until_answered<T>(mut call: impl AsyncFnMut() -> Result<T, ExecutionError>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.code(), "STORE", "{error}"),
        }
        sleep_ms(50).await;
    }
}

/// Which type the execution with this number has.
fn kind_of(number: usize, plan: &Plan, rng: &mut Rng) -> &'static str {
    for (kind, count) in [(POISON, POISONS), (LONG, LONGS)] {
        if number % (plan.executions / count).max(1) == plan.executions / count / 2 {
            return kind;
        }
    }
    let mut drawn = rng.u32(..1000);
    for (kind, share) in KINDS {
        if drawn < share {
            return kind;
        }
        drawn -= share;
    }
    KINDS[0].0
}

/// Runs it.
///
/// # Panics
///
/// If what is needed for it cannot be started, or the store answers what it must not.
pub async fn run(plan: Plan) -> Report {
    let began = now();
    let directory = tempfile::tempdir().expect("there is a place for temporary files").keep();
    let mut world = World::new(plan.kind, &directory).await;
    let log = Log::new(&directory, "driver").expect("it can be written");
    let skew = plan.kind.has_clock().then(skew);
    let stage = Stage { plan, target: world.target().clone(), directory, log, skew, ahead: day_ahead() };
    let manager = stage.open(&world).await;
    let created = RefCell::default();
    let work = async {
        let (slots, ()) = tokio::join!(trouble(&stage, &mut world), enqueue(&stage, &manager, &created));
        calm(&stage, &manager, slots).await
    };
    let slots = tokio::select! {
        slots = work => slots,
        () = watch(&stage, &manager, &created) => Vec::new(),
    };
    end(slots).await;
    let last = all(&manager).await;
    let history = history::read(&stage.directory).expect("every line is whole");
    drop((manager, world));
    report(&stage, &history, &last, began)
}

async fn enqueue(stage: &Stage, manager: &ExecutionManager<DynStore>, created: &RefCell<Vec<ExecutionId>>) {
    let mut rng = Rng::with_seed(stage.plan.seed);
    let batches = stage.plan.executions.div_ceil(BATCH);
    // Faults go on for a while after the last has come.
    let pause = stage.plan.faults.mul_f64(0.7) / u32::try_from(batches).unwrap_or(u32::MAX);
    for first in (0..stage.plan.executions).step_by(BATCH) {
        let numbers = first..(first + BATCH).min(stage.plan.executions);
        let kinds: Vec<&str> = numbers.clone().map(|number| kind_of(number, &stage.plan, &mut rng)).collect();
        let (from, due) = (now(), tokio::time::sleep(pause));
        let answer = until_answered(async || {
            let new =
                numbers.clone().zip(&kinds).map(|(number, kind)| work::new(kind).idempotency_key(number.to_string()));
            manager.create_all(new.collect::<Vec<_>>()).await
        });
        let mut facts = Vec::new();
        for (one, kind) in answer.await.into_iter().zip(kinds) {
            let one = one.expect("it is the only one with its key");
            created.borrow_mut().push(one.id);
            facts.push(Fact::Created { id: one.id, kind: kind.to_owned() });
        }
        stage.log.write(from, facts);
        due.await;
    }
}

/// Reads some, and calls some off.
async fn watch(stage: &Stage, manager: &ExecutionManager<DynStore>, created: &RefCell<Vec<ExecutionId>>) {
    let mut rng = Rng::with_seed(stage.plan.seed + 1);
    loop {
        sleep_ms(5).await;
        let drawn = {
            let created = created.borrow();
            // Most of what happens, happens to the latest.
            let from = created.len().saturating_sub(if rng.bool() { 300 } else { usize::MAX });
            (from < created.len()).then(|| created[rng.usize(from..created.len())])
        };
        let Some(id) = drawn else { continue };
        if rng.u8(..) < 8 {
            stage.log.write(now(), [Fact::Cancelling { id }]);
            // Whether it is accepted is seen later.
            let _ = manager.cancel(&id, Some("as it is to")).await;
        }
        for _ in 0..3 {
            let from = now();
            if let Ok(read) = manager.get(&id).await {
                let (status, version, epoch) = (read.status, read.version, read.epoch);
                stage.log.write(from, [Fact::Seen { id, status, version, epoch }]);
            }
        }
    }
}

/// Lets faults happen, for as long as planned.
async fn trouble(stage: &Stage, world: &mut World) -> Vec<Slot> {
    let mut rng = Rng::with_seed(stage.plan.seed + 2);
    let slot = |number| Slot { number, generation: 0, child: None, stopped_until: None, starts_at: 0 };
    let mut slots: Vec<Slot> = (0..WORKERS).map(slot).collect();
    let until = now() + nanos(stage.plan.faults);
    let every = Duration::from_secs(4);
    let mut next_of_server = now() + nanos(every);
    let mut first = [(5, 1.2), (0, 0.0), (9, 0.0)].into_iter();
    while now() < until {
        for slot in &mut slots {
            tend(stage, slot, &mut rng);
        }
        if world.has_server() && now() > next_of_server {
            let from = now();
            if rng.bool() {
                world.restart().await;
                stage.log.write(from, [Fact::ServerDied]);
            } else {
                world.cut(Duration::from_millis(rng.u64(10..300))).await;
                stage.log.write(from, [Fact::Cut]);
            }
            next_of_server = now() + nanos(every.mul_f64(0.5 + rng.f64()));
        }
        sleep_ms(rng.u64(50..250)).await;
        world.must_run();
        let slot = &mut slots[rng.usize(..WORKERS)];
        if slot.child.is_none() || slot.stopped_until.is_some() {
            continue;
        }
        // One of each in any run, however short.
        let drawn = first.next().unwrap_or_else(|| (rng.u8(..10), 0.3 + 1.7 * rng.f64()));
        match drawn {
            (0..5, _) => kill(stage, slot, &mut rng),
            (5..8, leases) => {
                slot.signal(Signal::STOP);
                slot.stopped_until = Some((now(), now() + nanos(LEASE.mul_f64(leases))));
            }
            _ => {
                let (from, worker) = (now(), slot.name());
                end_one(slot).await;
                stage.log.write(from, [Fact::Restarted { worker }]);
            }
        }
    }
    // One that was stopped in the midst of a transaction keeps others from theirs.
    go_on(stage, &mut slots, &mut rng);
    slots
}

/// Nobody is stopped any more, and nobody is missing.
fn go_on(stage: &Stage, slots: &mut [Slot], rng: &mut Rng) {
    for slot in slots {
        slot.stopped_until = slot.stopped_until.map(|(from, _)| (from, 0));
        slot.starts_at = 0;
        tend(stage, slot, rng);
    }
}

fn kill(stage: &Stage, slot: &mut Slot, rng: &mut Rng) {
    let (from, worker) = (now(), slot.name());
    slot.signal(Signal::KILL);
    if let Some(mut child) = slot.child.take() {
        drop(child.wait());
    }
    stage.log.write(from, [Fact::Killed { worker }]);
    slot.starts_at = now() + nanos(Duration::from_millis(rng.u64(..500)));
}

/// Starts a worker where there is none, and lets one go on that was stopped for long enough.
fn tend(stage: &Stage, slot: &mut Slot, rng: &mut Rng) {
    if let Some((from, until)) = slot.stopped_until
        && now() > until
    {
        slot.signal(Signal::CONT);
        slot.stopped_until = None;
        stage.log.write(from, [Fact::Stopped { worker: slot.name() }]);
    }
    // Some kill themselves.
    let has_ended = slot.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
    if has_ended {
        slot.child = None;
    }
    if slot.child.is_none() && now() > slot.starts_at {
        stage.start(slot, rng).expect("a worker can be started");
    }
}

/// No more faults, until all has come to its end, or nothing happens any more to anything that has not.
async fn calm(stage: &Stage, manager: &ExecutionManager<DynStore>, mut slots: Vec<Slot>) -> Vec<Slot> {
    use ExecutionStatus as S;
    let mut rng = Rng::with_seed(stage.plan.seed + 3);
    let (mut oldest, mut since) = (Vec::new(), now());
    loop {
        go_on(stage, &mut slots, &mut rng);
        let (mut found, began) = (Vec::new(), now());
        // Each state by itself: the oldest of all may wait behind many that are worked off meanwhile.
        for status in [S::Pending, S::Running, S::Retrying] {
            let open = ListOptions::new().limit(50).status(status);
            let page = until_answered(async || manager.list(open.clone()).await).await;
            found.extend(page.iter().map(|one| (one.id, one.version)));
        }
        if found.is_empty() {
            return slots;
        }
        if found != oldest {
            (oldest, since) = (found, now());
        } else if now() - since > nanos(PATIENCE) {
            return slots;
        }
        // Looking is not to be most of what the store does.
        tokio::time::sleep(Duration::from_millis(100).max(4 * Duration::from_nanos(now() - began))).await;
    }
}

async fn end_one(slot: &mut Slot) {
    let Some(mut child) = slot.child.take() else { return };
    drop(child.stdin.take());
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        sleep_ms(50).await;
    }
    // It cannot end as it wants to: perhaps the store does not answer.
    drop((child.kill(), child.wait()));
}

async fn end(slots: Vec<Slot>) {
    for mut slot in slots {
        end_one(&mut slot).await;
    }
}

/// All that is in the store.
async fn all(manager: &ExecutionManager<DynStore>) -> Vec<Last> {
    let (mut last, mut options) = (Vec::new(), ListOptions::new().limit(1000));
    loop {
        let page = until_answered(async || manager.list(options.clone()).await).await;
        last.extend(page.iter().map(Last::from));
        match page.next {
            Some(next) => options = options.after(next),
            None => return last,
        }
    }
}

fn report(stage: &Stage, history: &[history::Entry], last: &[Last], began: Moment) -> Report {
    let mut facts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut skewed = HashSet::new();
    for entry in history {
        let what = match &entry.fact {
            Fact::Killed { .. } => "kills",
            Fact::Stopped { .. } if entry.to - entry.from > nanos(LEASE) => "stops longer than a lease",
            Fact::Stopped { .. } => "shorter stops",
            Fact::Restarted { .. } => "restarts",
            Fact::ServerDied => "deaths of the server",
            Fact::Cut => "cuts of all connections",
            Fact::Claimed { .. } => "claims",
            Fact::Refused { .. } => "refused writes",
            Fact::Extended { is_held: true, .. } => "leases extended",
            Fact::Effect { .. } => "effects",
            Fact::Ran { .. } => "runs with a key",
            Fact::Began { skew_s } => {
                skewed.insert(skew_s / 60);
                "workers"
            }
            _ => continue,
        };
        *facts.entry(what).or_default() += 1;
    }
    facts.insert("different clocks, in minutes", skewed.len());
    facts.insert("with one key at once in a worker", judge::most_of_one_key(history));
    let kept = last.iter().filter(|one| one.kind == LONG && one.status == ExecutionStatus::Completed);
    facts.insert("completed that only heartbeats keep", kept.count());
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for one in last {
        *ends.entry(one.status.to_string()).or_default() += 1;
    }
    // By so much stores may have taken leases for over, or for not, if the clock was set.
    let set = Duration::from_nanos(day_ahead().abs_diff(stage.ahead));
    let violations = judge::judge(history, last, stage.plan.kind.doubt() + set);
    let directory = (!violations.is_empty()).then(|| stage.directory.clone());
    if directory.is_none() {
        remove(&stage.directory);
    }
    let took = Duration::from_nanos(now() - began);
    Report {
        plan: stage.plan.clone(),
        facts,
        ends,
        recoveries: judge::recoveries(history),
        took,
        violations,
        directory,
    }
}

fn remove(directory: &Path) {
    // What stays there is in nobody's way.
    let _ = std::fs::remove_dir_all(directory);
}
