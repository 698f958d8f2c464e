//! Random operations on a store, and on a map.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tracer::ManualClock;
use tracer::execution::{
    Applied, Beat, Claim, Command, Cursor, Execution, ExecutionId, ExecutionStore, Expected, Failure, Lease,
    ListOptions, NewExecution, Progress, Refusal, Retention, RetryPolicy, Swept, Timestamp, Write,
};

use crate::bed::{Bed, claim_of, runtime};

const TYPES: [&str; 3] = ["a", "b", "c"];
const LEASE: Duration = crate::bed::LEASE;

/// One operation. Executions are named by the order in which they were created; a number that is too high is one that
/// was never there.
#[derive(Debug, Clone)]
enum Operation {
    Create { type_: usize, key: Option<u8>, priority: i16, delay: u64, attempts: u32, timeout: Option<u64> },
    Write { which: usize, expected: Expects, command: Command, settle: bool },
    Claim { types: Vec<usize>, limit: u32, reserve: bool },
    ClaimThis { which: usize },
    Heartbeat { which: Vec<usize> },
    Sweep { limit: u32 },
    Delete { which: usize },
    DeleteEnded { done: u64, dead_letters: Option<u64>, limit: u32 },
    List { type_: Option<usize>, newest_first: bool, limit: u32 },
    Pass { ms: u64 },
}

#[derive(Debug, Clone, Copy)]
enum Expects {
    Nothing,
    /// The version that it has, more or less.
    Version(u64),
    /// The epoch that it has, or one before.
    Epoch(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let which = 0..8_usize;
    let command = prop_oneof![
        2 => Just(Command::Start { holder: None }),
        3 => (0..3_u32).prop_map(|result| Command::Complete { result: result.into() }),
        3 => (any::<bool>(), any::<u32>(), proptest::option::of(0..5000_u64)).prop_map(|(retryable, random, after)| {
            let mut failure = Failure::new("no").retryable(retryable);
            failure.retry_after = after.map(Duration::from_millis);
            Command::Fail { failure, random }
        }),
        2 => proptest::option::of("[a-c]").prop_map(|reason| Command::Cancel { reason }),
        2 => Just(Command::Begin),
        1 => Just(Command::Retry),
        1 => (0..5_u64, 0..4_u64).prop_map(|(current, total)| Command::Progress(Progress::new(current, total))),
        1 => ("[a-c]", 0..9_u32).prop_map(|(key, value)| Command::Checkpoint { key, value: value.into() }),
        1 => Just(Command::Redrive),
        1 => Just(Command::TimeOut),
        1 => any::<u32>().prop_map(|random| Command::Overtime { random }),
        1 => (0..5000_u64).prop_map(|ms| Command::Release { delay: Duration::from_millis(ms) }),
    ];
    let expected = prop_oneof![
        2 => Just(Expects::Nothing),
        1 => (0..2_u64).prop_map(Expects::Version),
        4 => (0..2_u64).prop_map(Expects::Epoch),
    ];
    let create = (
        0..3_usize,
        proptest::option::of(0..3_u8),
        -1..2_i16,
        prop_oneof![Just(0), 0..3000_u64],
        1..4_u32,
        proptest::option::of(1000..60_000_u64),
    );
    prop_oneof![
        4 => create.prop_map(|(type_, key, priority, delay, attempts, timeout)| {
            Operation::Create { type_, key, priority, delay, attempts, timeout }
        }),
        8 => (which.clone(), expected, command, any::<bool>()).prop_map(|(which, expected, command, settle)| {
            Operation::Write { which, expected, command, settle }
        }),
        7 => (proptest::collection::vec(0..3_usize, 0..3), 0..4_u32, any::<bool>())
            .prop_map(|(types, limit, reserve)| Operation::Claim { types, limit, reserve }),
        1 => which.clone().prop_map(|which| Operation::ClaimThis { which }),
        2 => proptest::collection::vec(which.clone(), 0..4).prop_map(|which| Operation::Heartbeat { which }),
        2 => (0..4_u32).prop_map(|limit| Operation::Sweep { limit }),
        1 => which.prop_map(|which| Operation::Delete { which }),
        1 => (0..20_000_u64, proptest::option::of(0..20_000_u64), 1..4_u32)
            .prop_map(|(done, dead_letters, limit)| Operation::DeleteEnded { done, dead_letters, limit }),
        1 => (proptest::option::of(0..3_usize), any::<bool>(), 1..4_u32)
            .prop_map(|(type_, newest_first, limit)| Operation::List { type_, newest_first, limit }),
        3 => prop_oneof![0..2000_u64, 10_000..40_000_u64].prop_map(|ms| Operation::Pass { ms }),
    ]
}

/// What a store is compared with: a map, looked through from end to end.
#[derive(Default)]
struct Model {
    executions: BTreeMap<ExecutionId, Execution>,
    ids: Vec<ExecutionId>,
}

impl Model {
    fn id(&self, which: usize) -> ExecutionId {
        self.ids.get(which).copied().unwrap_or(ExecutionId::new(u128::MAX).expect("it is not zero"))
    }

    fn lease(&self, which: usize) -> Lease {
        let id = self.id(which);
        Lease { id, epoch: self.executions.get(&id).map_or(1, |execution| execution.epoch) }
    }

    fn with_key(&self, key: &str) -> Option<&Execution> {
        self.executions.values().find(|execution| execution.idempotency_key.as_deref() == Some(key))
    }

    fn write(&mut self, write: &Write, now: Timestamp) -> Result<Execution, Refusal> {
        let execution = self.executions.get_mut(&write.id).ok_or(Refusal::NotFound)?;
        let before = execution.clone();
        let applied = write.apply(execution, now);
        match &applied {
            Err(_) | Ok(Applied::Unchanged) => assert_eq!(*execution, before, "{write:?}"),
            Ok(Applied::Changed) => assert_eq!(execution.version, before.version + 1),
        }
        applied.map(|_| execution.clone())
    }

    /// Does this to each that is due.
    fn take(&mut self, claim: &Claim, command: &Command, now: Timestamp) -> Vec<Execution> {
        let is_wanted = |execution: &&Execution| {
            execution.is_due(now) && claim.wants(&execution.type_) && claim.only.is_none_or(|only| only == execution.id)
        };
        let mut due: Vec<_> = self.executions.values().filter(is_wanted).cloned().collect();
        due.sort_by_key(|execution| (Reverse(execution.priority), execution.run_at, Cursor::of(execution)));
        due.truncate(claim.limit as usize);
        let write = |id| Write::new(id, command.clone());
        due.iter().map(|due| self.write(&write(due.id), now).expect("it waits")).collect()
    }

    fn heartbeat(&mut self, lease: &Lease, now: Timestamp) -> Beat {
        let execution = self.executions.get_mut(&lease.id);
        execution.map_or(Beat::Lost, |execution| execution.renew(lease.epoch, LEASE, now))
    }

    fn sweep(&mut self, limit: u32, now: Timestamp) -> Swept {
        let mut due: Vec<_> = self.executions.values().filter_map(|it| Some((it.sweep_at()?, it.id))).collect();
        due.sort_unstable();
        let mut swept = Swept::default();
        for (at, id) in due {
            if at > now || swept.total() == limit {
                swept.next_due = Some(at.since(now));
                break;
            }
            let execution = self.executions.get_mut(&id).expect("it is there");
            assert_eq!(execution.sweep(now), Applied::Changed);
            swept.count(execution);
        }
        swept
    }
}

/// Runs random operations on new stores and on maps, and compares every answer, and at the end everything.
///
/// # Panics
///
/// If they differ: with the smallest history that shows it.
pub fn any_operations_are_those_of_a_map<S, F>(setup: impl Fn(ManualClock) -> F)
where
    S: ExecutionStore + 'static,
    F: Future<Output = S>,
{
    let config = Config { cases: 48, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..Config::default() };
    let histories = proptest::collection::vec(operation(), 1..80);
    let runtime = runtime();
    let outcome = TestRunner::new(config).run(&histories, |history| {
        runtime.block_on(async {
            let bed = Bed::new(&setup).await;
            play(&bed, history).await
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn play<S: ExecutionStore + 'static>(bed: &Bed<S>, history: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for operation in history {
        step(bed, &mut model, &operation).await?;
    }
    for id in &model.ids {
        let found = bed.store().find_by_id(id).await.expect("the store answers");
        prop_assert_eq!(found.as_ref(), model.executions.get(id));
    }
    Ok(())
}

async fn step<S: ExecutionStore + 'static>(
    bed: &Bed<S>,
    model: &mut Model,
    operation: &Operation,
) -> Result<(), TestCaseError> {
    let (store, now) = (bed.store(), Timestamp::now(&bed.clock));
    let answers = "the store answers";
    match operation {
        &Operation::Create { type_, key, priority, delay, attempts, timeout } => {
            let retry = RetryPolicy::new(Duration::from_millis(500), Duration::from_secs(10));
            let new = NewExecution::new(TYPES[type_]).priority(priority).max_attempts(attempts).retry(retry);
            let mut new = new.delay(Duration::from_millis(delay));
            if let Some(timeout) = timeout {
                new = new.timeout(Duration::from_millis(timeout));
            }
            let key = key.map(|key| format!("key {key}"));
            if let Some(key) = &key {
                new = new.idempotency_key(key);
            }
            let create = bed.manager.prepare(new).expect("it is right");
            let created = store.create(vec![create.clone()]).await.expect(answers).remove(0).into_execution();
            let existing = key.as_deref().and_then(|key| model.with_key(key)).cloned();
            let expected = existing.unwrap_or_else(|| create.at(now));
            prop_assert_eq!(&created, &expected);
            if model.executions.insert(expected.id, expected).is_none() {
                model.ids.push(created.id);
            }
        }
        Operation::Write { which, expected, command, settle } => {
            let id = model.id(*which);
            let found = model.executions.get(&id);
            let of = |number: Option<u64>, off: u64| number.map_or(1, |number| number.saturating_sub(off));
            let expected = match *expected {
                Expects::Nothing => Expected::default(),
                Expects::Version(off) => {
                    Expected { version: Some(of(found.map(|found| found.version), off)), epoch: None }
                }
                Expects::Epoch(off) => Expected { version: None, epoch: Some(of(found.map(|found| found.epoch), off)) },
            };
            let write = Write { id, expected, command: command.clone() };
            let right = model.write(&write, now);
            if *settle {
                prop_assert_eq!(store.settle(vec![write]).await.expect(answers), [right.map(drop)]);
            } else {
                prop_assert_eq!(store.update(vec![write]).await.expect(answers), [right]);
            }
        }
        Operation::Claim { types, limit, reserve } => {
            let types: Vec<&str> = types.iter().map(|&type_| TYPES[type_]).collect();
            let claim = claim_of(&types, *limit);
            let taken = if *reserve { store.reserve(&claim).await } else { store.claim(&claim).await }.expect(answers);
            // A store may claim what it is to reserve.
            let reserves = *reserve && taken.iter().all(|execution| execution.reserved);
            let command = if reserves { claim.reservation() } else { claim.start() };
            prop_assert_eq!(taken, model.take(&claim, &command, now));
        }
        Operation::ClaimThis { which } => {
            let claim = Claim { only: Some(model.id(*which)), ..claim_of(&[], 1) };
            prop_assert_eq!(store.claim(&claim).await.expect(answers), model.take(&claim, &claim.start(), now));
        }
        Operation::Heartbeat { which } => {
            let leases: Vec<Lease> = which.iter().map(|which| model.lease(*which)).collect();
            let beats: Vec<Beat> = leases.iter().map(|lease| model.heartbeat(lease, now)).collect();
            prop_assert_eq!(store.heartbeat(&leases, LEASE).await.expect(answers), beats);
            // A store may count them as changes.
            for lease in leases {
                let found = store.find_by_id(&lease.id).await.expect(answers);
                if let (Some(found), Some(execution)) = (found, model.executions.get_mut(&lease.id)) {
                    prop_assert!(found.version >= execution.version && execution.lease == found.lease);
                    execution.version = found.version;
                }
            }
        }
        Operation::Sweep { limit } => {
            prop_assert_eq!(store.sweep(*limit).await.expect(answers), model.sweep(*limit, now));
        }
        Operation::Delete { which } => {
            let id = model.id(*which);
            let right = model.executions.get(&id).ok_or(Refusal::NotFound).and_then(Execution::check_delete);
            prop_assert_eq!(store.delete(&id).await.expect(answers), right.clone());
            if right.is_ok() {
                model.executions.remove(&id);
            }
        }
        &Operation::DeleteEnded { done, dead_letters, limit } => {
            let retention = Retention::new(Duration::from_millis(done));
            let retention = dead_letters.map_or(retention, |kept| retention.dead_letters(Duration::from_millis(kept)));
            delete_ended(bed, model, retention, limit).await?;
        }
        Operation::List { type_, newest_first, limit } => {
            let mut options = ListOptions::new().limit(*limit);
            options.types = type_.iter().map(|&type_| TYPES[type_].to_owned()).collect();
            options.newest_first = *newest_first;
            if store.capabilities().consistent_list {
                let right = options.page_of(model.executions.values().cloned());
                prop_assert_eq!(store.list(&options).await.expect(answers), right);
            }
        }
        Operation::Pass { ms } => bed.clock.advance(Duration::from_millis(*ms)),
    }
    Ok(())
}

async fn delete_ended<S: ExecutionStore + 'static>(
    bed: &Bed<S>,
    model: &mut Model,
    retention: Retention,
    limit: u32,
) -> Result<(), TestCaseError> {
    if !bed.store().capabilities().consistent_list {
        return Ok(());
    }
    let (mut deleted, mut after) = (0, None);
    loop {
        let step = bed.store().delete_ended(&retention, after, limit).await.expect("the store answers");
        deleted += step.deleted as usize;
        prop_assert!(step.deleted <= limit && step.unreadable == 0);
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    let (before, now) = (model.executions.len(), Timestamp::now(&bed.clock));
    model.executions.retain(|_, execution| !retention.is_over(execution, now));
    prop_assert_eq!(deleted, before - model.executions.len());
    Ok(())
}
