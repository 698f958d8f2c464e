//! Random asynchronous programs on three executors: whatever runs, the records keep the rules, and say of what ran
//! just what the program itself counted.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use tracer::test::{Recording, record_with};
use tracer::{Cause, Note, Record, Status, Tracer};

use crate::check::{self, Counts, End, Finished, Kind};
use crate::nodes::{Failed, NAMES, SITES, call, call_async};
use crate::random;

/// One statement. A body is a list of them; the first that fails ends it, as `?` does.
#[derive(Debug, Clone)]
enum Do {
    /// Pending once.
    Yield,
    Fail,
    Panic,
    Call(usize, Body),
    /// A synchronous function; what would wait in its body is left out.
    Sync(usize, Body),
    /// A function that calls itself so many times.
    Recurse(usize, u8),
    /// The error of the body is not passed on.
    Handle(Body),
    /// A panic of the body is not passed on.
    Catch(Body),
    Repeat(u8, Body),
    /// Side by side in this task: all.
    Join(Vec<Body>),
    /// Likewise, each a call that is made before the first is polled.
    JoinCalls(Vec<(usize, Body)>),
    /// Likewise, each in a branch.
    JoinBranches(Vec<Body>),
    /// Side by side until the first is through.
    Select(Vec<Body>),
    /// Dropped after so many polls.
    DropAfter(u8, Body),
    Spawn(Spawn, Body),
    /// A call that is polled here once and handed to another task, into which it takes its frame.
    HandOver(usize, Body),
    /// Runs on a thread, waited for.
    Thread(Body),
}

type Body = Vec<Do>;

#[derive(Debug, Clone, Copy)]
struct Spawn {
    branch: bool,
    /// Else it goes on alone.
    wait: bool,
    /// Aborted once this task was polled again so many times.
    abort_after: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Any,
    /// Nothing that depends on who is polled first.
    Fixed,
}

fn body(shape: Shape) -> impl Strategy<Value = Body> {
    let node = || 0..NAMES.len();
    let leaf = prop_oneof![
        6 => Just(Do::Yield),
        2 => Just(Do::Fail),
        1 => Just(Do::Panic),
        3 => node().prop_map(|node| Do::Call(node, Vec::new())),
        2 => (node(), 1..4_u8).prop_map(|(node, depth)| Do::Recurse(node, depth)),
    ];
    let statement = leaf.prop_recursive(4, 32, 4, move |inner| {
        let body = || prop::collection::vec(inner.clone(), 0..4);
        let arms = || prop::collection::vec(body(), 1..4);
        let call = || (node(), body());
        let caught = |body| vec![Do::Catch(body)];
        let spawn = move |(branch, wait, abort_after)| match shape {
            Shape::Any => Spawn { branch, wait, abort_after },
            Shape::Fixed => Spawn { branch: true, wait, abort_after: None },
        };
        let spawn = (any::<bool>(), any::<bool>(), prop::option::of(0..4_u8)).prop_map(spawn);
        let always = prop_oneof![
            6 => call().prop_map(|(node, body)| Do::Call(node, body)),
            2 => call().prop_map(|(node, body)| Do::Sync(node, body)),
            3 => body().prop_map(Do::Handle),
            2 => body().prop_map(Do::Catch),
            1 => (1..4_u8, body()).prop_map(|(times, body)| Do::Repeat(times, body)),
            2 => prop::collection::vec(call(), 1..4).prop_map(move |calls| {
                // A panic leaves the others where they are just then.
                let calls = calls.into_iter().map(|(node, body)| match shape {
                    Shape::Any => (node, body),
                    Shape::Fixed => (node, caught(body)),
                });
                Do::JoinCalls(calls.collect())
            }),
            2 => arms().prop_map(move |arms| Do::JoinBranches(arms.into_iter().map(caught).collect())),
            3 => (spawn, body()).prop_map(|(spawn, body)| Do::Spawn(spawn, body)),
            1 => body().prop_map(Do::Thread),
        ];
        match shape {
            Shape::Fixed => always.boxed(),
            Shape::Any => prop_oneof![
                10 => always,
                2 => arms().prop_map(Do::Join),
                1 => arms().prop_map(Do::JoinBranches),
                2 => arms().prop_map(Do::Select),
                1 => (0..4_u8, body()).prop_map(|(polls, body)| Do::DropAfter(polls, body)),
                1 => call().prop_map(|(node, body)| Do::HandOver(node, body)),
            ]
            .boxed(),
        }
    });
    prop::collection::vec(statement, 1..5)
}

type Task = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;

/// Runs tasks.
trait Executor: Send + Sync {
    fn spawn(&self, task: Task) -> Spawned;
}

struct Spawned {
    wait: Task,
    abort: Box<dyn Fn() + Send>,
}

/// What a program runs in, and what it sees of itself.
struct World {
    tracer: Tracer,
    executor: Box<dyn Executor>,
    counts: Mutex<Counts>,
    random: Random,
}

struct Random(AtomicU64);

impl Random {
    fn below(&self, bound: usize) -> usize {
        // SplitMix64: a weak generator is enough to shuffle.
        let mut bits = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits >> 33) % bound as u64).expect("below a usize")
    }
}

/// One run of a function, counted by itself.
struct Run {
    world: Arc<World>,
    node: usize,
    panicking: bool,
    ended: bool,
}

impl Run {
    fn begin(world: &Arc<World>, node: usize) -> Self {
        world.counts.lock().unwrap().enter(NAMES[node]);
        Self { world: world.clone(), node, panicking: std::thread::panicking(), ended: false }
    }

    fn end(mut self, result: Result<(), Failed>) -> Result<(), Failed> {
        self.count(if result.is_ok() { End::Exit } else { End::Error(Kind::Err) });
        result
    }

    fn count(&mut self, end: End) {
        self.ended = true;
        self.world.counts.lock().unwrap().end(NAMES[self.node], end);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.ended {
            let panicked = !self.panicking && std::thread::panicking();
            self.count(End::Error(if panicked { Kind::Panic } else { Kind::Cancelled }));
        }
    }
}

fn function(world: &Arc<World>, node: usize, body: &Body) -> Task {
    let (world, body) = (world.clone(), body.clone());
    Box::pin(call_async(&SITES[node], async move {
        let run = Run::begin(&world, node);
        let result = execute(&world, &body).await;
        run.end(result)
    }))
}

fn recurse(world: &Arc<World>, node: usize, depth: u8) -> Task {
    let world = world.clone();
    Box::pin(call_async(&SITES[node], async move {
        let run = Run::begin(&world, node);
        yield_once().await;
        let result = if depth > 0 { recurse(&world, node, depth - 1).await } else { Ok(()) };
        run.end(result)
    }))
}

fn execute(world: &Arc<World>, body: &Body) -> Task {
    let (world, body) = (world.clone(), body.clone());
    Box::pin(async move {
        for statement in &body {
            statement.execute(&world).await?;
        }
        Ok(())
    })
}

impl Do {
    async fn execute(&self, world: &Arc<World>) -> Result<(), Failed> {
        match self {
            Self::Yield => yield_once().await,
            Self::Fail => return Err(Failed),
            // Without the hook, which would print.
            Self::Panic => resume_unwind(Box::new(())),
            Self::Call(node, body) => function(world, *node, body).await?,
            Self::Recurse(node, depth) => recurse(world, *node, *depth).await?,
            Self::Handle(body) => drop(execute(world, body).await),
            Self::Catch(body) => catch(execute(world, body)).await.unwrap_or(Ok(()))?,
            Self::Repeat(times, body) => {
                for _ in 0..*times {
                    execute(world, body).await?;
                }
            }
            Self::Join(arms) => join(world, arms.iter().map(|arm| execute(world, arm)).collect()).await?,
            Self::JoinCalls(calls) => {
                join(world, calls.iter().map(|(node, body)| function(world, *node, body)).collect()).await?;
            }
            Self::JoinBranches(arms) => {
                join(world, arms.iter().map(|arm| branch(execute(world, arm))).collect()).await?;
            }
            Self::Select(arms) => select(world, arms.iter().map(|arm| execute(world, arm)).collect()).await?,
            Self::DropAfter(polls, body) => drop_after(*polls, execute(world, body)).await?,
            Self::Spawn(spawn, body) => {
                let task = execute(world, body);
                spawn.run(world, if spawn.branch { branch(task) } else { task }).await?;
            }
            Self::HandOver(node, body) => {
                let mut task = function(world, *node, body);
                let first = poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await;
                match first {
                    Poll::Ready(result) => result?,
                    Poll::Pending => Spawn { branch: false, wait: true, abort_after: None }.run(world, task).await?,
                }
            }
            Self::Sync(..) | Self::Thread(_) => self.execute_now(world)?,
        }
        Ok(())
    }

    /// What can be done without waiting.
    fn execute_now(&self, world: &Arc<World>) -> Result<(), Failed> {
        let all = |body: &Body| body.iter().try_for_each(|statement| statement.execute_now(world));
        match self {
            Self::Fail => Err(Failed),
            Self::Panic => resume_unwind(Box::new(())),
            Self::Call(node, body) | Self::Sync(node, body) => call(&SITES[*node], || {
                let run = Run::begin(world, *node);
                let result = all(body);
                run.end(result)
            }),
            Self::Handle(body) => {
                all(body).ok();
                Ok(())
            }
            Self::Catch(body) => catch_unwind(AssertUnwindSafe(|| all(body))).unwrap_or(Ok(())),
            Self::Repeat(times, body) => (0..*times).try_for_each(|_| all(body)),
            Self::Thread(body) => {
                let work = tracer::carry(|| all(body));
                // The panic of the thread is its own.
                let given = world.tracer.clone();
                std::thread::scope(|scope| scope.spawn(|| record_with(given, work).output).join()).unwrap_or(Ok(()))
            }
            _ => Ok(()),
        }
    }
}

impl Spawn {
    async fn run(self, world: &Arc<World>, task: Task) -> Result<(), Failed> {
        let Spawned { wait, abort } = world.executor.spawn(given(world.tracer.clone(), task));
        if let Some(polls) = self.abort_after {
            for _ in 0..polls {
                yield_once().await;
            }
            abort();
        }
        if !self.wait {
            return Ok(());
        }
        // An abort is not an error of who waits.
        let waited = wait.await;
        if self.abort_after.is_some() { Ok(()) } else { waited }
    }
}

/// New traces of the task go to `tracer`, on whatever thread it is polled.
fn given(tracer: Tracer, mut task: Task) -> Task {
    Box::pin(poll_fn(move |cx| {
        let polled = record_with(tracer.clone(), || task.as_mut().poll(cx)).output;
        assert_eq!(tracer::current_trace_id(), None, "no poll leaves anything behind");
        polled
    }))
}

fn branch(task: Task) -> Task {
    Box::pin(tracer::branch(task))
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn catch(task: Task) -> std::thread::Result<Result<(), Failed>> {
    let mut task = Some(task);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().expect("once").as_mut().poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => Ok(result),
            Err(panic) => Err(panic),
        };
        task = None;
        Poll::Ready(result)
    })
    .await
}

/// Polls all that are left, in any order; `stop` says after which results to end.
async fn side_by_side(
    world: &Arc<World>,
    mut tasks: Vec<Task>,
    stop: impl Fn(Result<(), Failed>) -> bool,
) -> Result<(), Failed> {
    let mut all = Ok(());
    poll_fn(|cx| {
        let mut waiting: Vec<usize> = (0..tasks.len()).collect();
        let mut through = Vec::new();
        while !waiting.is_empty() {
            let next = waiting.swap_remove(world.random.below(waiting.len()));
            if let Poll::Ready(result) = tasks[next].as_mut().poll(cx) {
                all = all.and(result);
                if stop(result) {
                    return Poll::Ready(());
                }
                through.push(next);
            }
        }
        through.sort_unstable();
        through.into_iter().rev().for_each(|task| drop(tasks.swap_remove(task)));
        if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all
}

async fn join(world: &Arc<World>, tasks: Vec<Task>) -> Result<(), Failed> {
    side_by_side(world, tasks, |_| false).await
}

async fn select(world: &Arc<World>, tasks: Vec<Task>) -> Result<(), Failed> {
    side_by_side(world, tasks, |_| true).await
}

async fn drop_after(polls: u8, task: Task) -> Result<(), Failed> {
    let (mut task, mut polls) = (Some(task), polls);
    poll_fn(move |cx| match &mut task {
        Some(running) if polls > 0 => {
            polls -= 1;
            let polled = running.as_mut().poll(cx);
            cx.waker().wake_by_ref();
            polled
        }
        _ => {
            task = None;
            Poll::Ready(Ok(()))
        }
    })
    .await
}

/// Polls any task at any time, woken or not.
#[derive(Clone, Default)]
struct ByHand(Arc<Mutex<Vec<HandTask>>>);

struct HandTask {
    task: Task,
    slot: Arc<Mutex<Option<Result<(), Failed>>>>,
    aborted: Arc<AtomicBool>,
}

impl Executor for ByHand {
    fn spawn(&self, task: Task) -> Spawned {
        let (slot, aborted) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        self.0.lock().unwrap().push(HandTask { task, slot: slot.clone(), aborted: aborted.clone() });
        let wait = poll_fn(move |_| slot.lock().unwrap().map_or(Poll::Pending, Poll::Ready));
        Spawned { wait: Box::pin(wait), abort: Box::new(move || aborted.store(true, Ordering::Relaxed)) }
    }
}

impl ByHand {
    fn run(&self, random: &Random) {
        loop {
            let mut tasks = self.0.lock().unwrap();
            let count = tasks.len();
            if count == 0 {
                return;
            }
            let mut next = tasks.swap_remove(random.below(count));
            drop(tasks);
            let mut poll = || next.task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let result = if next.aborted.load(Ordering::Relaxed) {
                Some(Err(Failed))
            } else {
                match catch_unwind(AssertUnwindSafe(&mut poll)) {
                    Ok(Poll::Pending) => None,
                    Ok(Poll::Ready(result)) => Some(result),
                    Err(_) => Some(Err(Failed)),
                }
            };
            if result.is_some() {
                drop(next.task);
                *next.slot.lock().unwrap() = result;
            } else {
                self.0.lock().unwrap().push(next);
            }
        }
    }
}

#[derive(Clone)]
struct Tokio {
    runtime: tokio::runtime::Handle,
    /// Every task, also those that nobody in the program waits for.
    tasks: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
}

impl Executor for Tokio {
    fn spawn(&self, task: Task) -> Spawned {
        let (done, wait) = tokio::sync::oneshot::channel();
        let handle = self.runtime.spawn(async move {
            let result = task.await;
            done.send(result).ok();
        });
        let abort = handle.abort_handle();
        self.tasks.lock().unwrap().push(handle);
        Spawned {
            wait: Box::pin(async move { wait.await.unwrap_or(Err(Failed)) }),
            abort: Box::new(move || abort.abort()),
        }
    }
}

fn world(executor: impl Executor + 'static, seed: u64) -> Arc<World> {
    Arc::new(World {
        tracer: Tracer::builder().build(),
        executor: Box::new(executor),
        counts: Mutex::default(),
        random: Random(AtomicU64::new(seed)),
    })
}

/// The whole program: one function, whose panic ends no more than itself.
fn program(world: &Arc<World>, body: &Body) -> Task {
    let main = catch(function(world, 0, body));
    Box::pin(async move { main.await.unwrap_or(Err(Failed)) })
}

fn by_hand(body: &Body, seed: u64) -> (Arc<World>, Recording<()>) {
    let executor = ByHand::default();
    let world = world(executor.clone(), seed);
    executor.spawn(given(world.tracer.clone(), program(&world, body)));
    let seen = record_with(world.tracer.clone(), || executor.run(&world.random));
    (world, seen)
}

fn on_tokio(runtime: &tokio::runtime::Runtime, body: &Body, seed: u64) -> (Arc<World>, Recording<()>) {
    let executor = Tokio { runtime: runtime.handle().clone(), tasks: Arc::default() };
    let world = world(executor.clone(), seed);
    let seen = record_with(world.tracer.clone(), || {
        runtime.block_on(program(&world, body)).ok();
        loop {
            let Some(left) = executor.tasks.lock().unwrap().pop() else { break };
            // Aborted or panicked: the program has counted it.
            runtime.block_on(left).ok();
        }
    });
    (world, seen)
}

#[track_caller]
fn verify(body: &Body, (world, seen): &(Arc<World>, Recording<()>)) {
    let records = seen.records();
    check::check(&records, Finished::Yes);
    check::called_by_the_innermost(&records);
    if !format!("{body:?}").contains("HandOver") {
        check::inner_frames_end_first(&records);
    }
    assert_eq!(check::counts(&records), *world.counts.lock().unwrap(), "what the program counted itself");
    assert_eq!(seen.tracer().active_traces(), [], "nothing is left");
    assert_eq!(tracer::current_trace_id(), None);
}

proptest! {
    #![proptest_config(random::config(600, "programs"))]

    #[test]
    fn programs_polled_by_hand(body in body(Shape::Any), seed: u64) {
        verify(&body, &by_hand(&body, seed));
    }

    #[test]
    fn programs_on_one_tokio_thread(body in body(Shape::Any), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        verify(&body, &on_tokio(&runtime, &body, seed));
    }

    #[test]
    fn keys_do_not_depend_on_the_order_of_polls(body in body(Shape::Fixed), seeds: [u64; 2]) {
        let [first, second] = seeds.map(|seed| {
            let run = by_hand(&body, seed);
            verify(&body, &run);
            ends_by_key(&run.1.records())
        });
        prop_assert_eq!(first, second);
    }
}

/// Every call by its key, with how it ended.
fn ends_by_key(records: &[Record]) -> BTreeSet<(String, Option<Kind>)> {
    let key_of = |frame| {
        let steps = records.iter().filter_map(Record::as_step);
        steps.filter(|step| step.frame == Some(frame)).find_map(|step| step.key.clone()).expect("entered")
    };
    let end = |record: &Record| match record {
        Record::Step(step) if step.status != Status::Enter => {
            Some((step.key.clone().expect("automatic"), step.error.as_ref().map(|error| error.kind.into())))
        }
        Record::Note(note) => match note.note {
            Note::Unwound { frame, error, .. } => Some((key_of(frame), Some(error.into()))),
            _ => None,
        },
        _ => None,
    };
    records.iter().filter_map(end).collect()
}

#[test]
fn programs_on_two_tokio_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(random::config(600, "programs-parallel"));
    runner
        .run(&(body(Shape::Any), any::<u64>()), |(body, seed)| {
            verify(&body, &on_tokio(&runtime, &body, seed));
            Ok(())
        })
        .unwrap();
}

/// The strategy makes what the properties above are about; else they would say little.
#[test]
fn random_programs_show_everything_there_is() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut causes, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..300 {
        let body = body(Shape::Any).new_tree(&mut runner).unwrap().current();
        let (_, seen) = by_hand(&body, seed);
        causes.extend(seen.records().iter().filter_map(Record::as_env).map(|env| format!("{:?}", env.cause)));
        ends.extend(seen.records().iter().filter_map(|record| match record {
            Record::Step(step) => Some((false, step.error.as_ref()?.kind.into())),
            Record::Note(note) => match note.note {
                Note::Unwound { error, .. } => Some((true, Kind::from(error))),
                _ => None,
            },
            Record::Env(_) => None,
        }));
    }
    // No future of these programs outlives who called it, so none is detached.
    let expected = [Cause::Root, Cause::Fork, Cause::Overlap, Cause::Reentry, Cause::Recovery];
    assert_eq!(causes, expected.iter().map(|cause| format!("{cause:?}")).collect());
    assert_eq!(ends.len(), 6, "each kind of error, in a step and unwound: {ends:?}");
}
