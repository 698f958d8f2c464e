//! The worker: what it is told when it is made, and the loops that run while it runs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracer::execution::{
    Claim, Command, Execution, ExecutionError, ExecutionId, ExecutionManager, ExecutionStore, Failure, Keep, Lease,
    Pruned, Retention, StoreError, Trouble, Written, check_name,
};

use crate::attempt::Attempt;
use crate::bounded::Bounded;
use crate::claims::{self, Ask, OfType};
use crate::handler::{Handler, handler};
use crate::held::Held;
use crate::patient::{Patient, back_off};
use crate::run::run;
use crate::running::Running;
use crate::schedule::Schedule;
use crate::settle::{self, Ended, Settler};
use crate::take;

pub(crate) type OnError = Arc<dyn Fn(&ExecutionError) + Send + Sync>;

/// How often lost leases and overtime are looked for: what a dead worker held runs again within its lease and this.
const SWEEP_EVERY: Duration = Duration::from_millis(900);
/// How far apart workers sweep that know of the same lease, and how often one does at most.
const SWEEP_APART: Duration = Duration::from_millis(100);

/// For how long a sweep waits for ends that are tried again, at most: an outage may be long, and one of them may never be
/// taken.
const SWEEP_AFTER: Duration = Duration::from_secs(300);

/// How often what ended long ago is deleted, at most, and within which time first.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const PRUNE_FIRST: Duration = Duration::from_secs(60);

/// The longest lease, a year: whatever it is added to, there is such an instant.
const LEASE_MAX: Duration = Duration::from_secs(365 * 86_400);
/// The longest wait for work. It is drawn a little longer, too.
const POLL_MAX: Duration = Duration::from_secs(u64::MAX / 2);

/// A type that is handled.
pub(crate) struct Handled {
    pub(crate) handler: Handler,
    /// How many may run here at once.
    limit: Option<usize>,
    pub(crate) keyed: Option<Keyed>,
}

/// Says what an execution counts under.
pub(crate) type Key = Arc<dyn Fn(&Execution) -> Option<String> + Send + Sync>;

/// How many with one key may run here at once.
pub(crate) struct Keyed {
    pub(crate) limit: usize,
    pub(crate) key: Key,
}

/// A worker that is not running yet.
#[must_use = "it does nothing before `start`"]
pub struct Worker<S> {
    pub(crate) manager: ExecutionManager<Bounded<S>>,
    pub(crate) handlers: BTreeMap<String, Handled>,
    schedules: Vec<Schedule>,
    name: String,
    pub(crate) concurrency: usize,
    pub(crate) lease: Duration,
    pub(crate) poll: Duration,
    pub(crate) grace: Duration,
    retention: Option<Retention>,
    pub(crate) on_error: OnError,
}

impl<S: ExecutionStore + Clone + 'static> Worker<S> {
    /// A worker without handlers: 16 attempts at once, leases of 30 s, looking for work every 250 ms when there was none,
    /// with 10 s for handlers to stop. What the store has not answered within a minute counts as failed.
    pub fn new(manager: ExecutionManager<S>) -> Self {
        Self {
            manager: manager.map_store(Bounded),
            handlers: BTreeMap::new(),
            schedules: Vec::new(),
            name: format!("{}-{:08x}", std::process::id(), fastrand::u32(..)),
            concurrency: 16,
            lease: Duration::from_secs(30),
            poll: Duration::from_millis(250),
            grace: Duration::from_secs(10),
            retention: None,
            on_error: Arc::new(|_| {}),
        }
    }

    /// Handles executions of this type. Its payload is read as a `P`, what it returns is the result; one that cannot be
    /// read fails for good, with the code `INVALID_PAYLOAD`.
    ///
    /// Its errors are [`Failure`]s, or of any type that implements `Error`, and may be retried then. Those of `anyhow`,
    /// `Box<dyn Error + Send + Sync>` and texts do not; inside of a handler that returns a `Failure`, say what they are:
    ///
    /// ```
    /// # use tracer::execution::Failure;
    /// # use tracer_workers::Attempt;
    /// # type Anyhow = Box<dyn std::error::Error + Send + Sync>;
    /// async fn send(order: u32) -> Result<String, Anyhow> {
    ///     # Ok(order.to_string())
    ///     // …
    /// }
    ///
    /// async fn handle(_: Attempt, order: u32) -> Result<String, Failure> {
    ///     send(order).await.map_err(|error| Failure::new(format!("{error:#}")).retryable(true))
    /// }
    /// # drop(tracer_workers::Worker::new(tracer::execution::ExecutionManager::new(tracer::execution::MemoryStore::default())).handler("send", handle));
    /// ```
    ///
    /// A handler is not to block its thread: see [work that blocks](crate#work-that-blocks).
    ///
    /// # Panics
    ///
    /// If no execution can be of this type ([`check_name`]): it is empty, or longer than 255 bytes.
    #[track_caller]
    pub fn handler<P, R, E, F>(
        mut self,
        type_: impl Into<String>,
        handle: impl Fn(Attempt, P) -> F + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned + 'static,
        R: Serialize + 'static,
        E: Into<Failure> + 'static,
        F: Future<Output = Result<R, E>> + Send + 'static,
    {
        let type_ = type_.into();
        if let Err(error) = check_name("a type", &type_) {
            panic!("{error}");
        }
        self.handlers.insert(type_, Handled { handler: handler(handle), limit: None, keyed: None });
        self
    }

    /// How many of this type may run here at once.
    ///
    /// Types with a limit are asked for one by one, in turns with each other and with all those without. So the
    /// [priority](tracer::execution::NewExecution::priority) decides within such a type, and not between it and the others.
    ///
    /// # Panics
    ///
    /// If the type has no [`handler`](Self::handler) yet.
    #[track_caller]
    pub fn limit(mut self, type_: &str, at_once: usize) -> Self {
        self.handled(type_).limit = Some(at_once);
        self
    }

    /// How many of this type may run here at once with one key: what `key` gives, of the payload for instance; those that
    /// it gives none for are not counted. Workers do not know of each other: the limit is of each.
    ///
    /// The store does not know keys. So executions of such a type are [reserved](ExecutionStore::reserve) first, and begin
    /// with a write of their own. The worker keeps some that have to wait, as many as may run at once at most, in order; what
    /// comes behind them goes back to the store until about its turn, at most for half a minute, so that beyond those that are
    /// kept the order is not strict. None of that counts as an attempt, whatever becomes of the worker. While they wait, they
    /// are `running` for others to see, and [`reserved`](Execution::reserved).
    ///
    /// # Panics
    ///
    /// If the type has no [`handler`](Self::handler) yet.
    #[track_caller]
    pub fn limit_per_key(
        mut self,
        type_: &str,
        at_once: usize,
        key: impl Fn(&Execution) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.handled(type_).keyed = Some(Keyed { limit: at_once, key: Arc::new(key) });
        self
    }

    #[track_caller]
    fn handled(&mut self, type_: &str) -> &mut Handled {
        let Some(handled) = self.handlers.get_mut(type_) else {
            panic!("a limit of {type_:?}, which has no handler yet: give the handler first");
        };
        handled
    }

    /// Creates executions by this schedule, too, while it runs.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// How many attempts may run here at once: 16 unless given.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[track_caller]
    pub fn concurrency(mut self, at_once: usize) -> Self {
        assert!(at_once > 0, "expected at least 1 attempt at once, found 0");
        self.concurrency = at_once;
        self
    }

    /// What the store calls it, for people: unique to the process unless given.
    ///
    /// # Panics
    ///
    /// If it is no name ([`check_name`]): empty, or longer than 255 bytes.
    #[track_caller]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        if let Err(error) = check_name("a worker's name", &self.name) {
            panic!("{error}");
        }
        self
    }

    /// How long nobody else may take over what it has: 30 s unless given, and a year at most. It is extended three times as
    /// often, and every three seconds at least: so long it may take until a handler hears that its execution is cancelled,
    /// or over.
    ///
    /// # Panics
    ///
    /// If it is shorter than 1 ms, which is what stores count in.
    #[track_caller]
    pub fn lease(mut self, lease: Duration) -> Self {
        assert!(lease.as_millis() > 0, "expected a lease of at least 1 ms, found {lease:?}");
        self.lease = lease.min(LEASE_MAX);
        self
    }

    /// How long to wait when there was nothing to do, unless the store says sooner that there is something: 250 ms unless
    /// given.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll.min(POLL_MAX);
        self
    }

    /// How long a handler whose execution was cancelled may take to return, before it is dropped: 10 s unless given.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Deletes what ended longer ago than this, of any type, too ([`ExecutionManager::prune`]): a minute after it has begun at
    /// the latest, and then every five to ten minutes. Otherwise everything is kept for ever. A [`Duration`] is for completed
    /// and cancelled executions, and keeps dead letters; [`Retention::dead_letters`] says for how long.
    ///
    /// One worker of many is enough; several do not disturb each other. How many it had to leave because they cannot be read
    /// is told each time to [`on_error`](Self::on_error), with the code `CORRUPT`.
    ///
    /// With an execution goes its idempotency key: what is created by keys may run again once it is deleted.
    pub fn retain(mut self, retention: impl Into<Retention>) -> Self {
        self.retention = Some(retention.into());
        self
    }

    /// Is told of every call of the store that failed, of a schedule that could not make its execution, of what
    /// [`retain`](Self::retain) could not read, and of what could not go on because [recording is
    /// off](tracer::set_enabled): write it to your log, for without this nobody sees it. The worker goes on, even
    /// if `told` panics.
    pub fn on_error(mut self, told: impl Fn(&ExecutionError) + Send + Sync + 'static) -> Self {
        // Who panics in here has been told of by the panic hook: there is nobody else to tell.
        self.on_error = Arc::new(move |error| drop(catch_unwind(AssertUnwindSafe(|| told(error)))));
        self
    }

    /// Runs one execution to the end of one attempt, if it is due, without background tasks: for a function that was
    /// called with its id. `None` if it is not due, its type has no handler here, or it has become another's meanwhile.
    ///
    /// `lease` is how long nobody else may take it over if this process dies, a year at most. It is extended for as long as the future is
    /// polled, so it need not be as long as the work; who has so much time and no more drops the future, and the lease ends.
    /// A cancellation reaches the handler as it does in a worker that was started, and so does the loss of the lease. A handler
    /// that blocks its thread for longer than the lease loses it.
    ///
    /// # Errors
    ///
    /// What the store says. If the outcome could not be written, the lease ends, and another attempt follows.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, so is the handler; the lease ends, and another attempt follows.
    pub async fn run_by_id(&self, id: &ExecutionId, lease: Duration) -> Result<Option<Execution>, ExecutionError> {
        if self.handlers.is_empty() {
            // A claim of no types would be one of any.
            return Ok(None);
        }
        let lease = lease.min(LEASE_MAX);
        let types = self.handlers.keys().cloned().collect();
        let claim = Claim { types, only: Some(*id), limit: 1, worker: self.name.clone(), lease };
        let asked = Instant::now();
        let Some(execution) = self.manager.claim(claim).await?.pop() else { return Ok(None) };
        let Some(Handled { handler, .. }) = self.handlers.get(&execution.type_) else { return Ok(None) };
        if asked.elapsed() >= lease {
            // The answer took longer than the lease in it lasts.
            return Ok(None);
        }
        let held = Held::default();
        let (attempt, teller) = Attempt::new(execution, self.writes(lease));
        held.add(teller, asked + lease);
        tokio::select! {
            biased;
            ended = self.end(&attempt, handler) => match ended {
                Ok(true) => self.manager.get(id).await.map(Some),
                Ok(false) => Ok(None),
                Err(error) if error.code() == Failure::LEASE_LOST => Ok(None),
                Err(error) => Err(error),
            },
            never = beat_all(self, &held, lease, asked) => match never {},
        }
    }

    /// Runs one attempt without a settler, and writes how it ends; `false` if it is another's by now.
    async fn end(&self, attempt: &Attempt, handler: &Handler) -> Result<bool, ExecutionError> {
        let Some(mut command) = run(attempt, handler, self.grace, &self.on_error).await else { return Ok(false) };
        let (lease, writes) = (attempt.lease(), attempt.writes());
        let mut is_last = false;
        loop {
            match writes.write(lease, command.clone()).await {
                Err(error) if !is_last && error.code() != Failure::LEASE_LOST && !error.is_retryable() => {
                    is_last = settle::replace(&mut command, &error);
                }
                settled => return settled.map(|()| true),
            }
        }
    }

    fn writes(&self, lease: Duration) -> Arc<dyn Keep> {
        Arc::new(Patient { manager: self.manager.clone(), lease, on_error: self.on_error.clone() })
    }

    /// Starts it, on the tokio runtime of the caller.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; and if a [`schedule`](Self::schedule) makes up for longer than what has ended is
    /// [kept](Self::retain): what was deleted would run again.
    #[track_caller]
    pub fn start(self) -> Running {
        for schedule in &self.schedules {
            schedule.check(self.retention);
        }
        let (held, stop) = (Arc::new(Held::default()), watch::Sender::new(false));
        let (ended, receiver) = mpsc::unbounded_channel();
        let settler = Settler {
            manager: self.manager.clone(),
            held: held.clone(),
            lease: self.lease,
            on_error: self.on_error.clone(),
        };
        let shared = Arc::new(Shared {
            writes: self.writes(self.lease),
            worker: self,
            held: held.clone(),
            ended,
            stop: stop.subscribe(),
            retried: Notify::new(),
        });
        let schedules = shared.worker.schedules.iter().cloned();
        let schedules = schedules.map(|one| one.run(shared.worker.manager.clone(), shared.worker.on_error.clone()));
        let mut background: Vec<_> = schedules.map(tokio::spawn).collect();
        let beating = shared.clone();
        background.push(tokio::spawn(async move {
            match beat_all(&beating.worker, &beating.held, beating.worker.lease, Instant::now()).await {}
        }));
        background.push(tokio::spawn(sweep_all(shared.clone())));
        background.extend(shared.worker.retention.map(|kept| tokio::spawn(prune_all(shared.clone(), kept))));
        Running {
            claims: tokio::spawn(claim_all(shared)),
            background,
            settler: tokio::spawn(settler.run(receiver)),
            held,
            stop,
        }
    }
}

impl<S> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("types", &self.handlers.keys().collect::<Vec<_>>())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Shared<S> {
    pub(crate) worker: Worker<S>,
    pub(crate) writes: Arc<dyn Keep>,
    pub(crate) held: Arc<Held>,
    /// To the settler.
    ended: mpsc::UnboundedSender<Ended>,
    stop: watch::Receiver<bool>,
    /// A sweep here has found work to do again.
    retried: Notify,
}

impl<S> Shared<S> {
    /// Hands it over to the settler, which is gone if the worker was dropped: the lease will end.
    pub(crate) fn ends(&self, attempt: &Attempt, command: Option<Command>) {
        drop(self.ended.send(Ended { lease: attempt.lease(), command }));
    }
}

/// Claims whenever there is room and, as far as is known, work.
async fn claim_all<S: ExecutionStore + Clone + 'static>(shared: Arc<Shared<S>>) {
    let Shared { worker, held, retried, .. } = &*shared;
    let mut stop = shared.stop.clone();
    let mut turn = 0;
    loop {
        let mut there_is_more = false;
        // From before the claims: what comes while they are made is not missed.
        let woken = worker.manager.store().wake();
        let types = types(worker, held);
        let is_any_full = claims::is_any_full(&types);
        let mut asks = claims::next(&worker.name, worker.lease, &types);
        // Each is the first in its turn, so that none takes all places again and again.
        turn = (turn + 1) % asks.len().max(1);
        asks.rotate_left(turn);
        for Ask { claim, reserves } in asks {
            let free = worker.concurrency.saturating_sub(held.running());
            let limit = free.min(claim.limit as usize);
            if limit == 0 || *stop.borrow() {
                break;
            }
            let claim = Claim { limit: u32::try_from(limit).unwrap_or(u32::MAX), ..claim };
            let asked = Instant::now();
            let manager = &worker.manager;
            let answer = if reserves { manager.reserve(claim).await } else { manager.claim(claim).await };
            match answer {
                Ok(claimed) => {
                    there_is_more |= claimed.len() == limit;
                    take::all(&shared, claimed, asked + worker.lease);
                }
                Err(error) => (worker.on_error)(&error),
            }
        }
        let has_room = held.running() < worker.concurrency;
        if there_is_more && has_room {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::task::yield_now() => continue,
            }
        }
        // Workers that began together are not to ask together.
        let wait = worker.poll.mul_f64(0.75 + fastrand::f64() / 2.0);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = held.changed(), if there_is_more || is_any_full || !has_room => {}
            () = held.wanting(), if has_room => {}
            () = woken, if has_room => {}
            () = retried.notified(), if has_room => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What is handled, and how many of it run.
fn types<'w, S>(worker: &'w Worker<S>, held: &Held) -> Vec<OfType<'w>> {
    let of = |(type_, Handled { limit, keyed, .. }): (&'w String, &Handled)| {
        let running = limit.map_or(0, |_| held.running_of(type_));
        OfType { type_, is_keyed: keyed.is_some(), limit: *limit, running }
    };
    worker.handlers.iter().map(of).collect()
}

/// The longest time until a worker hears what others have done to what it runs.
const HEARS_WITHIN: Duration = Duration::from_secs(3);

/// Extends all leases, three times as often as they need it at least; the first of them was asked for at `began`.
async fn beat_all<S: ExecutionStore + Clone>(
    worker: &Worker<S>,
    held: &Held,
    lease: Duration,
    began: Instant,
) -> Infallible {
    let between = (lease / 3).min(HEARS_WITHIN);
    let mut every = tokio::time::interval_at(began + between, between);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let leases = held.leases();
        if !leases.is_empty() {
            // A store that does not answer must not keep us from seeing that leases are over.
            drop(tokio::time::timeout(lease / 3, extend_all(worker, held, &leases, lease)).await);
        }
        // By the next time it would be too late.
        held.drop_untrusted(Instant::now() + lease / 3);
    }
}

/// So often leases are extended together, before each is by itself; and so many of these fail in a row before it is not they.
const TOGETHER_MAX: u32 = 2;
const IN_A_ROW_MAX: u32 = 3;

/// Extends these leases together, and what was not extended again; one by one, if the store does not take them together.
async fn extend_all<S: ExecutionStore + Clone>(worker: &Worker<S>, held: &Held, leases: &[Lease], by: Duration) {
    let mut tries = 0;
    while tries < TOGETHER_MAX {
        let Err(error) = extend(worker, held, leases, by).await else { return };
        (worker.on_error)(&error);
        tries += 1;
        match (error.is_retryable(), leases.len()) {
            (false, 1) => return,
            (false, _) => break,
            (true, _) => tokio::time::sleep(back_off(tries)).await,
        }
    }
    let mut left = leases.to_vec();
    // So that it is not always the same that come after those that fail.
    fastrand::shuffle(&mut left);
    loop {
        let (mut failed, mut in_a_row) = (Vec::new(), 0);
        for lease in left {
            match extend(worker, held, &[lease], by).await {
                Ok(()) => in_a_row = 0,
                Err(error) => {
                    (worker.on_error)(&error);
                    if error.is_retryable() {
                        failed.push(lease);
                        in_a_row += 1;
                    }
                }
            }
            if in_a_row == IN_A_ROW_MAX {
                return;
            }
        }
        if failed.is_empty() {
            return;
        }
        left = failed;
        tries += 1;
        tokio::time::sleep(back_off(tries)).await;
    }
}

async fn extend<S: ExecutionStore>(
    worker: &Worker<S>,
    held: &Held,
    leases: &[Lease],
    by: Duration,
) -> Result<(), ExecutionError> {
    let asked = Instant::now();
    let mut first = pin!(worker.manager.heartbeat(leases, by));
    let beats = if let Ok(beats) = tokio::time::timeout(by / 6, &mut first).await {
        beats?
    } else {
        // It may be on its way, or never be answered: what comes first.
        tokio::select! {
            beats = first => beats?,
            beats = worker.manager.heartbeat(leases, by) => beats?,
        }
    };
    held.beat(leases, &beats, asked, by);
    Ok(())
}

/// Sweeps as soon as a lease that it knows of is over, and at intervals for those that it does not.
async fn sweep_all<S: ExecutionStore + Clone>(shared: Arc<Shared<S>>) {
    let Shared { worker, held, retried, .. } = &*shared;
    let (mut next_due, mut waits_until) = (None, None);
    loop {
        // Workers that began together are not to sweep together.
        let due = next_due.map_or(SWEEP_EVERY, |due| due + SWEEP_APART.mul_f64(0.5 + fastrand::f64() / 2.0));
        tokio::time::sleep(due.min(SWEEP_EVERY.mul_f64(0.5 + fastrand::f64() / 2.0))).await;
        // After an outage, what has ended here comes first.
        let until = *waits_until.get_or_insert_with(|| Instant::now() + SWEEP_AFTER);
        while held.would_lose_ends(Instant::now()) && Instant::now() < until {
            tokio::time::sleep(SWEEP_APART).await;
        }
        if !held.would_lose_ends(Instant::now()) {
            waits_until = None;
        }
        next_due = match worker.manager.tick().await {
            Ok(swept) => {
                if swept.retried > 0 {
                    retried.notify_one();
                }
                swept.next_due
            }
            Err(error) => {
                (worker.on_error)(&error);
                None
            }
        };
    }
}

/// What is to be told of those that have ended and cannot be read, and stay for ever therefore.
fn unreadable(store: &impl ExecutionStore, count: u64) -> ExecutionError {
    let store = store.capabilities().name;
    let source = format!("{count} that ended long ago, as it seems, are no executions, and were left alone").into();
    let (operation, trouble, written) = ("read what has ended", Trouble::Corrupt, Written::Nothing);
    StoreError { store, operation, trouble, written, source }.into()
}

/// Deletes what ended long ago, by and by.
async fn prune_all<S: ExecutionStore + Clone>(shared: Arc<Shared<S>>, retention: Retention) {
    let worker = &shared.worker;
    // Workers that began together are not to do it together.
    let mut wait = PRUNE_FIRST.mul_f64(fastrand::f64());
    loop {
        tokio::time::sleep(wait).await;
        match worker.manager.prune(retention).await {
            Ok(Pruned { unreadable: 0, .. }) => {}
            Ok(pruned) => (worker.on_error)(&unreadable(worker.manager.store(), pruned.unreadable)),
            Err(error) => (worker.on_error)(&error),
        }
        wait = PRUNE_EVERY.mul_f64(0.5 + fastrand::f64() / 2.0);
    }
}
