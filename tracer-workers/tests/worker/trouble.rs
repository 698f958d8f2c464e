//! Stores that cannot be reached, leases that are lost, executions that cannot be read.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracer::execution::{
    Beat, Capabilities, Claim, Command, Create, Created, Cursor, Deleted, Execution, ExecutionError, ExecutionId,
    ExecutionManager, ExecutionStatus as S, ExecutionStore, Failure, Lease, ListOptions, MemoryStore, NewExecution,
    Page, Refusal, Retention, StoreError, Swept, Trouble, Write, Written,
};
use tracer_workers::{Attempt, Left, Schedule, Worker};

use crate::{Gauge, LEASE, SECOND, TokioClock, ended, manager, new, run, while_nothing_is_lost};

/// A store that can be cut off: no call gets through, or no answer comes back.
#[derive(Clone)]
pub(crate) struct Cut {
    store: MemoryStore,
    what: Arc<Mutex<Option<Written>>>,
    /// An execution that cannot be read.
    corrupt: Arc<Mutex<Option<ExecutionId>>>,
    /// How long the answer to a claim takes.
    claim_takes: Arc<Mutex<Duration>>,
    /// How long it takes to begin what was reserved.
    pub(crate) beginning_takes: Arc<Mutex<Duration>>,
    /// What is never taken of an execution, for reasons that may go by as far as it says.
    refused: Arc<Mutex<Option<(ExecutionId, &'static str)>>>,
    /// How long it takes to say so.
    pub(crate) refusal_takes: Arc<Mutex<Duration>>,
    /// How long the message of a failure may be, in bytes.
    pub(crate) message_len_max: Arc<AtomicUsize>,
    /// It is as it was before there were reservations.
    pub(crate) knows_no_reservations: Arc<AtomicBool>,
    /// How long it takes to say that it is cut off.
    pub(crate) outage_takes: Arc<Mutex<Duration>>,
    /// Writes that are under way.
    pub(crate) writes: Gauge,
    /// A write panics.
    pub(crate) panics: Arc<AtomicBool>,
    /// A sweep does.
    sweep_panics: Arc<AtomicBool>,
}

impl Cut {
    pub(crate) fn set(&self, cut: Option<Written>) {
        *self.what.lock().unwrap() = cut;
    }

    pub(crate) fn set_corrupt(&self, id: ExecutionId) {
        *self.corrupt.lock().unwrap() = Some(id);
    }

    pub(crate) fn refuse(&self, id: ExecutionId, command: &'static str) {
        *self.refused.lock().unwrap() = Some((id, command));
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let cut = *self.what.lock().unwrap();
        if cut.is_some() {
            let takes = *self.outage_takes.lock().unwrap();
            sleep(takes).await;
        }
        let fault = |written| {
            let source = "the line was cut".into();
            StoreError { store: "cut", operation: "answer", trouble: Trouble::Unavailable, written, source }
        };
        match cut {
            None => call.await,
            Some(Written::Nothing) => Err(fault(Written::Nothing)),
            Some(Written::Unknown) => {
                call.await?;
                Err(fault(Written::Unknown))
            }
        }
    }
}

impl ExecutionStore for Cut {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        self.store.create(new).await
    }
    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.store.find_by_id(id).await
    }
    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        self.store.find_by_idempotency_key(key).await
    }
    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        let _counted = self.writes.enter();
        assert!(!self.panics.load(Ordering::Relaxed), "as it is to");
        let refused = *self.refused.lock().unwrap();
        if writes.iter().any(|write| refused == Some((write.id, write.command.name()))) {
            let takes = *self.refusal_takes.lock().unwrap();
            sleep(takes).await;
            let (source, trouble) = ("not that".into(), Trouble::Unavailable);
            return Err(StoreError { store: "cut", operation: "write", trouble, written: Written::Nothing, source });
        }
        let max = self.message_len_max.load(Ordering::Relaxed);
        let is_too_long =
            |write: &Write| matches!(&write.command, Command::Fail { failure, .. } if failure.message.len() > max);
        if writes.iter().any(is_too_long) {
            let (source, trouble) = (format!("expected at most {max} bytes").into(), Trouble::TooLarge);
            return Err(StoreError { store: "cut", operation: "write", trouble, written: Written::Nothing, source });
        }
        if writes.iter().any(|write| write.command == Command::Begin) {
            let takes = *self.beginning_takes.lock().unwrap();
            sleep(takes).await;
        }
        self.call(self.store.update(writes)).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        self.store.list(options).await
    }
    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        self.store.delete(id).await
    }
    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        let deleted = self.call(self.store.delete_ended(retention, after, limit)).await;
        let unreadable = u32::from(self.corrupt.lock().unwrap().is_some());
        deleted
            .map(|deleted| Deleted { unreadable, ..deleted })
            .map_err(|error| StoreError { operation: "delete what has ended", ..error })
    }
    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        let claimed = self.call(self.store.claim(claim)).await;
        let takes = *self.claim_takes.lock().unwrap();
        sleep(takes).await;
        claimed
    }
    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        if self.knows_no_reservations.load(Ordering::Relaxed) {
            return self.claim(claim).await;
        }
        self.call(self.store.reserve(claim)).await
    }
    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        let corrupt = *self.corrupt.lock().unwrap();
        if leases.iter().any(|lease| Some(lease.id) == corrupt) {
            let (source, written) = ("it is no execution".into(), Written::Nothing);
            return Err(StoreError { store: "cut", operation: "read", trouble: Trouble::Corrupt, written, source });
        }
        self.call(self.store.heartbeat(leases, extend)).await
    }
    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        assert!(!self.sweep_panics.load(Ordering::Relaxed), "as it is to");
        self.call(self.store.sweep(limit)).await
    }
}

pub(crate) fn cut_off() -> (ExecutionManager<Cut>, Cut) {
    let store = MemoryStore::with_clock(TokioClock(Instant::now()));
    let cut = Cut {
        store,
        what: Arc::default(),
        corrupt: Arc::default(),
        claim_takes: Arc::default(),
        beginning_takes: Arc::default(),
        refused: Arc::default(),
        refusal_takes: Arc::default(),
        message_len_max: Arc::new(AtomicUsize::new(usize::MAX)),
        knows_no_reservations: Arc::default(),
        outage_takes: Arc::default(),
        writes: Gauge::default(),
        panics: Arc::default(),
        sweep_panics: Arc::default(),
    };
    (ExecutionManager::new(cut.clone()), cut)
}

/// Whenever the other one begins, and though it seldom asks for work.
#[test]
fn a_lost_lease_is_seen_when_it_is_over() {
    for offset in 0..40 {
        run(async {
            let (manager, _) = cut_off();
            let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
            let claim = Claim { types: vec![], only: Some(id), limit: 1, worker: "dead".to_owned(), lease: LEASE };
            assert_eq!(manager.claim(claim).await.unwrap().len(), 1);
            let claimed = Instant::now();
            sleep(SECOND / 40 * offset).await;
            let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
            let worker = Worker::new(manager.clone()).poll(LEASE).handler("work", handle).start();
            ended(&manager, &id).await;
            assert!(claimed.elapsed() <= LEASE + SECOND / 2, "{:?}", claimed.elapsed());
            worker.shutdown(SECOND).await;
        });
    }
}

#[test]
fn a_worker_that_is_cut_off_stops_before_others_may_begin() {
    run(async {
        let (cut_manager, cut) = cut_off();
        let others = ExecutionManager::new(cut.store.clone());
        let gauge = Gauge::default();
        let handle = |gauge: Gauge, forever: bool| {
            move |_: Attempt, (): ()| {
                let counted = gauge.enter();
                async move {
                    if forever {
                        std::future::pending::<()>().await;
                    }
                    drop(counted);
                    Ok::<_, Failure>("the other one")
                }
            }
        };
        let worker = Worker::new(cut_manager).handler("work", handle(gauge.clone(), true)).start();
        let id = others.create(new(()).max_attempts(2)).await.unwrap().id;
        sleep(SECOND * 100).await;
        cut.set(Some(Written::Nothing));
        let other = Worker::new(others.clone()).handler("work", handle(gauge.clone(), false)).start();
        let done = ended(&others, &id).await;
        assert_eq!((done.result, done.attempts), (Some("the other one".into()), 2));
        assert_eq!(gauge.most(), 1, "never in two places at once");
        cut.set(None);
        worker.shutdown(SECOND).await;
        other.shutdown(SECOND).await;
        assert_eq!(others.get(&id).await.unwrap().version, done.version);
    });
}

#[test]
fn a_store_that_is_away_is_not_asked_for_each_lease() {
    run(async {
        let (manager, cut) = cut_off();
        let told = Arc::new(AtomicUsize::new(0));
        let tell = told.clone();
        let handle = |_: Attempt, (): ()| async {
            sleep(LEASE * 2).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone())
            .concurrency(200)
            .handler("work", handle)
            .on_error(move |_| _ = tell.fetch_add(1, Ordering::Relaxed))
            .start();
        let created = manager.create_all((0..200).map(|_| new(()))).await.unwrap();
        sleep(SECOND).await;
        cut.set(Some(Written::Nothing));
        sleep(LEASE / 3).await;
        cut.set(None);
        let told = told.load(Ordering::Relaxed);
        assert!((1..100).contains(&told), "{told}: some for sweeps, five for leases");
        for created in created {
            let done = ended(&manager, &created.unwrap().id).await;
            assert_eq!((done.status, done.attempts), (S::Completed, 1), "{done:?}");
        }
        worker.shutdown(SECOND).await;
    });
}

/// Those that were under way when the store went silent, though it is there again.
#[test]
fn calls_that_are_never_answered_hold_up_nothing_for_ever() {
    run(async {
        let (manager, cut) = cut_off();
        let others = ExecutionManager::new(cut.store.clone());
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let handle = |_: Attempt, (): ()| async {
            sleep(LEASE * 3).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager)
            .handler("work", handle)
            .on_error(move |error| tell.lock().unwrap().push(format!("{error}: {}", error.source().unwrap())))
            .start();
        let before = others.create(new(())).await.unwrap().id;
        // Some end while the store is silent, and the others need their leases.
        sleep(SECOND * 45).await;
        let later = others.create(new(())).await.unwrap().id;
        sleep(SECOND * 44).await;
        *cut.outage_takes.lock().unwrap() = Duration::MAX;
        cut.set(Some(Written::Nothing));
        sleep(SECOND * 2).await;
        cut.set(None);
        let after = others.create(new(())).await.unwrap().id;
        for id in [before, later, after] {
            let done = ended(&others, &id).await;
            assert_eq!((done.status, done.attempts), (S::Completed, 1), "{done:?}");
        }
        let told = told.lock().unwrap().join("\n");
        for operation in ["claim executions", "update executions", "sweep"] {
            let line = told.lines().find(|line| line.contains(&format!("failed to {operation} [STORE]")));
            assert!(line.is_some_and(|line| line.ends_with(": expected an answer within 60s, found none")), "{told}");
        }
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_checkpoint_that_is_never_answered_is_kept_all_the_same() {
    run(async {
        let (manager, cut) = cut_off();
        let others = ExecutionManager::new(cut.store.clone());
        let handle = |attempt: Attempt, (): ()| async move {
            sleep(SECOND).await;
            attempt.keep("halfway", 1).await?;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager).handler("work", handle).start();
        let id = others.create(new(())).await.unwrap().id;
        sleep(SECOND / 2).await;
        *cut.outage_takes.lock().unwrap() = Duration::MAX;
        cut.set(Some(Written::Nothing));
        sleep(SECOND).await;
        cut.set(None);
        let done = ended(&others, &id).await;
        assert_eq!((done.status, done.attempts, &done.checkpoints["halfway"]), (S::Completed, 1, &1.into()));
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn what_is_claimed_too_late_does_not_begin() {
    run(async {
        let (manager, cut) = cut_off();
        *cut.claim_takes.lock().unwrap() = LEASE;
        let begun = Arc::new(Mutex::new(Vec::new()));
        let handle = {
            let begun = begun.clone();
            move |attempt: Attempt, (): ()| {
                begun.lock().unwrap().push(attempt.lease().epoch);
                async { Ok::<_, Failure>(()) }
            }
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        sleep(LEASE / 2).await;
        *cut.claim_takes.lock().unwrap() = Duration::ZERO;
        assert_eq!(ended(&manager, &id).await.attempts, 2);
        assert_eq!(*begun.lock().unwrap(), [2], "others may have had the first");
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn nor_does_what_is_claimed_too_late_by_its_id() {
    run(async {
        let (manager, cut) = cut_off();
        *cut.claim_takes.lock().unwrap() = LEASE;
        let handle = |_: Attempt, (): ()| async { Err::<(), _>(Failure::new("it has begun")) };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        assert_eq!(worker.run_by_id(&id, LEASE).await.unwrap(), None);
        assert_eq!(manager.get(&id).await.unwrap().error, None);
    });
}

#[test]
fn what_is_claimed_late_by_its_id_has_its_lease_extended_in_time() {
    run(async {
        let (manager, cut) = cut_off();
        *cut.claim_takes.lock().unwrap() = LEASE * 5 / 6;
        let handle = |_: Attempt, (): ()| async {
            sleep(LEASE).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).handler("work", handle);
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        let done = while_nothing_is_lost(&manager, worker.run_by_id(&id, LEASE)).await.unwrap().unwrap();
        assert_eq!((done.status, done.attempts), (S::Completed, 1));
    });
}

/// Somebody has given it back behind the worker's back, and it comes here again before a heartbeat tells.
#[test]
fn an_attempt_that_another_one_here_has_taken_over_is_dropped() {
    run(async {
        let manager = manager();
        let gauge = Gauge::default();
        let lease = Arc::new(Mutex::new(None));
        let handle = {
            let (gauge, lease) = (gauge.clone(), lease.clone());
            move |attempt: Attempt, (): ()| {
                let counted = gauge.enter();
                let first = lease.lock().unwrap().replace(attempt.lease()).is_none();
                async move {
                    if first {
                        std::future::pending::<()>().await;
                    }
                    drop(counted);
                    Ok::<_, Failure>(())
                }
            }
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let id = manager.create(new(())).await.unwrap().id;
        sleep(SECOND).await;
        let first = lease.lock().unwrap().unwrap();
        let release = Write::under(first, Command::Release { delay: Duration::ZERO });
        manager.settle(vec![release]).await.unwrap().remove(0).unwrap();
        assert_eq!(ended(&manager, &id).await.epoch, first.epoch + 1);
        assert_eq!(gauge.most(), 1, "never two at once");
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn one_that_cannot_be_read_costs_the_others_no_lease() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = |_: Attempt, seconds: u32| async move {
            sleep(SECOND * seconds).await;
            Ok::<_, Failure>(())
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).start();
        let bad = manager.create(new(1000)).await.unwrap().id;
        let good = manager.create(new(100)).await.unwrap().id;
        sleep(SECOND).await;
        cut.set_corrupt(bad);
        let done = ended(&manager, &good).await;
        assert_eq!((done.status, done.attempts), (S::Completed, 1));
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn outcomes_are_not_lost_when_replies_are() {
    run(async {
        let (manager, cut) = cut_off();
        let told = Arc::new(Mutex::new(Vec::new()));
        let on_error = {
            let told = told.clone();
            move |error: &ExecutionError| told.lock().unwrap().push(error.code())
        };
        let handle = |_: Attempt, (): ()| async {
            sleep(SECOND).await;
            Ok::<_, Failure>("once")
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).on_error(on_error).start();
        for written in [Written::Nothing, Written::Unknown] {
            let id = manager.create(new(()).max_attempts(3)).await.unwrap().id;
            sleep(Duration::from_millis(900)).await;
            assert_eq!(manager.get(&id).await.unwrap().status, S::Running);
            cut.set(Some(written));
            sleep(SECOND * 3).await;
            cut.set(None);
            let done = ended(&manager, &id).await;
            assert_eq!((done.status, done.attempts, done.result), (S::Completed, 1, Some("once".into())));
        }
        let told = told.lock().unwrap().clone();
        assert!(!told.is_empty() && told.iter().all(|code| *code == "STORE"), "{told:?}");
        worker.shutdown(SECOND).await;
    });
}

/// The store says nothing, and the next look for work is far away: who finds a lost lease takes it up.
#[test]
fn who_finds_a_lost_lease_runs_it_at_once() {
    run(async {
        let (manager, _) = cut_off();
        let id = manager.create(new(()).max_attempts(2)).await.unwrap().id;
        let handle = |attempt: Attempt, (): ()| async move {
            if attempt.lease().epoch == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, Failure>(attempt.lease().epoch)
        };
        let worker = || Worker::new(manager.clone()).poll(SECOND * 3600).handler("work", handle);
        let dead = worker().start();
        while manager.get(&id).await.unwrap().status != S::Running {
            sleep(Duration::from_millis(1)).await;
        }
        let survivor = worker().start();
        sleep(Duration::from_millis(1)).await;
        let died = Instant::now();
        drop(dead);
        let done = ended(&manager, &id).await;
        assert_eq!((done.attempts, done.result), (2, Some(2.into())));
        assert!(died.elapsed() <= LEASE + SECOND, "{:?}", died.elapsed());
        survivor.shutdown(SECOND).await;
    });
}

#[test]
fn who_asks_is_told_that_a_part_of_a_worker_has_ended() {
    run(async {
        let (manager, cut) = cut_off();
        let worker = Worker::new(manager).start();
        sleep(SECOND * 10).await;
        assert!(!worker.is_finished());
        cut.sweep_panics.store(true, Ordering::Relaxed);
        sleep(SECOND).await;
        assert!(worker.is_finished());
    });
}

/// It is called by what claims, by what ends attempts, by what extends leases and by what sweeps.
#[test]
fn who_is_told_of_errors_may_panic_and_the_worker_goes_on() {
    run(async {
        let (manager, cut) = cut_off();
        let told = Arc::new(AtomicUsize::new(0));
        let on_error = {
            let told = told.clone();
            move |error: &ExecutionError| {
                told.fetch_add(1, Ordering::Relaxed);
                panic!("told of {error}");
            }
        };
        let handle = |_: Attempt, (): ()| async {
            sleep(SECOND * 15).await;
            Ok::<_, Failure>("once")
        };
        let worker = Worker::new(manager.clone()).handler("work", handle).on_error(on_error).start();
        let first = manager.create(new(()).max_attempts(1)).await.unwrap().id;
        sleep(SECOND).await;
        // Beyond a heartbeat and the end of the attempt, not as long as the lease.
        cut.set(Some(Written::Nothing));
        sleep(SECOND * 17).await;
        cut.set(None);
        assert!(told.load(Ordering::Relaxed) >= 4);
        let second = manager.create(new(())).await.unwrap().id;
        for id in [first, second] {
            let done = tokio::time::timeout(LEASE, ended(&manager, &id)).await.expect("somebody still works");
            assert_eq!((done.status, done.attempts), (S::Completed, 1));
        }
        worker.shutdown(SECOND).await;
    });
}

#[test]
fn a_schedule_that_panics_is_told_of_and_has_its_next_time() {
    run(async {
        let started = Instant::now();
        let manager = ExecutionManager::new(MemoryStore::with_clock(TokioClock(started)));
        let calls = AtomicUsize::new(0);
        let make = move |_| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("out of paper"),
            _ => NewExecution::new("work"),
        };
        let schedule = Schedule::new("minutely", "* * * * *", make).unwrap().clock(TokioClock(started));
        let told = Arc::new(Mutex::new(Vec::new()));
        let on_error = {
            let told = told.clone();
            move |error: &ExecutionError| told.lock().unwrap().push(error.to_string())
        };
        let worker = Worker::new(manager.clone()).schedule(schedule).on_error(on_error).start();
        sleep(SECOND * 121).await;
        worker.shutdown(SECOND).await;
        assert_eq!(
            *told.lock().unwrap(),
            ["what makes an execution of schedule `minutely` panicked: out of paper [INVALID_INPUT]"]
        );
        let created = manager.list(ListOptions::new()).await.unwrap().len();
        assert!((1..=2).contains(&created), "{created}");
    });
}

/// A claim is under way, of which nobody knows when it is answered, and takes one of two.
#[test]
fn shutdown_is_over_in_time_though_a_claim_is_under_way() {
    const WITHIN: Duration = Duration::from_secs(10);
    let check = |takes: Duration, begins: usize, given_back: usize, expected: S| {
        run(async move {
            let (manager, cut) = cut_off();
            let begun = Arc::new(AtomicUsize::new(0));
            let handle = {
                let begun = begun.clone();
                move |_: Attempt, (): ()| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<Result<(), Failure>>()
                }
            };
            let worker = Worker::new(manager.clone()).handler("work", handle).start();
            let first = manager.create(new(())).await.unwrap().id;
            while manager.get(&first).await.unwrap().status != S::Running {
                sleep(Duration::from_millis(10)).await;
            }
            *cut.claim_takes.lock().unwrap() = takes;
            let second = manager.create(new(())).await.unwrap().id;
            while manager.get(&second).await.unwrap().status != S::Running {
                sleep(Duration::from_millis(10)).await;
            }
            let asked = Instant::now();
            assert_eq!(worker.shutdown(WITHIN).await, Left { given_back }, "{takes:?}");
            assert!(asked.elapsed() <= WITHIN, "{takes:?}: {:?}", asked.elapsed());
            let first = manager.get(&first).await.unwrap();
            assert_eq!((first.status, first.attempts), (S::Retrying, 0), "{takes:?}");
            let second = manager.get(&second).await.unwrap();
            assert_eq!((second.status, begun.load(Ordering::Relaxed)), (expected, begins), "{takes:?}");
        });
    };
    // Begun, and given back with the other; given back as it comes; left to its lease.
    check(SECOND, 2, 2, S::Retrying);
    check(WITHIN.mul_f64(0.95), 1, 2, S::Retrying);
    check(WITHIN * 10, 1, 1, S::Running);
}

/// One that is made after the shutdown has begun would take what nobody runs.
#[test]
fn shutdown_makes_no_claim_after_the_one_under_way() {
    run(async {
        let (manager, cut) = cut_off();
        let handle = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        let worker = Worker::new(manager.clone()).handler("work", handle).limit("work", 1);
        let worker = worker.handler("other", handle).limit("other", 1).start();
        sleep(SECOND).await;
        *cut.claim_takes.lock().unwrap() = SECOND * 2;
        let [work, other] = ["work", "other"].map(NewExecution::new);
        let ids = [manager.create(work).await.unwrap().id, manager.create(other).await.unwrap().id];
        let all = async || [manager.get(&ids[0]).await.unwrap().status, manager.get(&ids[1]).await.unwrap().status];
        while all().await == [S::Pending; 2] {
            sleep(Duration::from_millis(10)).await;
        }
        worker.shutdown(SECOND * 30).await;
        let statuses = all().await;
        assert!(statuses.contains(&S::Completed) && statuses.contains(&S::Pending), "{statuses:?}");
    });
}
