//! What nodes with `checkpoint` keep in the attempt around them, and what the next attempt gets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracer::execution::{AttemptOf, Execution, ExecutionError, ExecutionManager, Failure, MemoryStore, NewExecution};
use tracer::{Tracer, branch, traced_node};

use crate::drive::{envs, once_pending, poll, run, steps};

thread_local! {
    /// How often each effect was had by this test.
    static RUNS: RefCell<BTreeMap<String, u32>> = RefCell::default();
}

fn ran(effect: impl Into<String>) {
    RUNS.with_borrow_mut(|runs| *runs.entry(effect.into()).or_default() += 1);
}

fn runs() -> String {
    RUNS.with_borrow(|runs| {
        runs.iter().map(|(effect, times)| format!("{effect}×{times}")).collect::<Vec<_>>().join(" ")
    })
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    of: u32,
}

#[traced_node(checkpoint)]
async fn charge(of: u32) -> Result<Receipt, String> {
    once_pending().await;
    ran(format!("charge {of}"));
    if of == 13 { Err("unlucky".into()) } else { Ok(Receipt { of }) }
}

#[traced_node(checkpoint = at_most_once)]
async fn send(to: u32) -> u32 {
    ran(format!("send {to}"));
    once_pending().await;
    if to == 99 {
        std::future::pending::<()>().await;
    }
    to + 1
}

#[traced_node]
async fn order(number: u32) -> Result<u32, String> {
    once_pending().await;
    let receipt = charge(number).await?;
    Ok(send(receipt.of).await)
}

#[traced_node]
fn plain(number: u32) -> impl Future<Output = Result<Receipt, String>> {
    charge(number)
}

fn manager() -> ExecutionManager<MemoryStore> {
    ExecutionManager::new(MemoryStore::default())
}

/// Runs attempts at one execution, one after the other, each of which fails but for what it gives.
struct Attempts {
    manager: ExecutionManager<MemoryStore>,
    execution: Execution,
}

impl Attempts {
    fn new() -> Self {
        let manager = manager();
        let execution = run(manager.create(NewExecution::new("work").max_attempts(100))).unwrap();
        Self { manager, execution }
    }

    fn next<F: Future>(&mut self, work: impl FnOnce() -> F) -> Result<F::Output, ExecutionError> {
        self.execution = run(self.manager.start(&self.execution.id)).unwrap();
        let output = run(self.manager.run_attempt(&self.execution, work));
        self.execution = run(self.manager.fail(&self.execution.id, Failure::new("no").retryable(true))).unwrap();
        output
    }

    /// Begins the next attempt, and drops it after so many polls, as a process that dies does.
    fn killed<F: Future>(&mut self, polls: usize, work: impl FnOnce() -> F) {
        self.execution = run(self.manager.start(&self.execution.id)).unwrap();
        let output = poll(self.manager.run_attempt(&self.execution, work), polls);
        assert!(output.is_none(), "it was to be killed");
        self.execution = run(self.manager.fail(&self.execution.id, Failure::new("killed").retryable(true))).unwrap();
    }
}

#[test]
fn a_later_attempt_gets_what_one_before_has_returned() {
    let mut attempts = Attempts::new();
    for _ in 0..3 {
        assert_eq!(attempts.next(|| order(7)).unwrap(), Ok(8));
    }
    assert_eq!(runs(), "charge 7×1 send 7×1");
    let kept: Vec<&String> = attempts.execution.checkpoints.keys().collect();
    assert!(kept.len() == 2 && kept[0].starts_with("charge@") && kept[1].starts_with("send@"), "{kept:?}");
}

#[test]
fn without_an_execution_around_it_a_node_just_runs() {
    for _ in 0..2 {
        assert_eq!(run(order(7)), Ok(8));
    }
    assert_eq!(runs(), "charge 7×2 send 7×2");
}

#[test]
fn each_call_has_its_own_result_wherever_it_is() {
    async fn work() -> Vec<u32> {
        let mut sent = Vec::new();
        for number in 1..4 {
            sent.push(order(number).await.unwrap());
        }
        // Side by side, in forks, below a plain function, and after an error that was handled.
        let (a, b) = tracer::join!(order(4), order(5));
        sent.extend([a.unwrap(), b.unwrap()]);
        sent.push(branch(order(6)).await.unwrap());
        sent.push(plain(7).await.unwrap().of);
        assert_eq!(order(13).await, Err("unlucky".into()));
        sent.push(order(8).await.unwrap());
        sent
    }
    let mut attempts = Attempts::new();
    let first = attempts.next(work).unwrap();
    let once = runs();
    assert_eq!(first, [2, 3, 4, 5, 6, 7, 7, 9]);
    for _ in 0..2 {
        assert_eq!(attempts.next(work).unwrap(), first);
    }
    assert_eq!(runs(), once.replace("charge 13×1", "charge 13×3"), "errors are not kept, all else is");
}

#[test]
fn killed_after_any_poll_no_effect_is_lost_and_those_of_at_most_once_never_happen_twice() {
    // Polls of one attempt until it is ready, when nothing is kept: found by trying.
    for polls in 1..12 {
        RUNS.take();
        let mut attempts = Attempts::new();
        let work = || async { tracer::join!(order(1), order(2)) };
        let execution = run(attempts.manager.start(&attempts.execution.id)).unwrap();
        if poll(attempts.manager.run_attempt(&execution, work), polls).is_some() {
            assert!(polls > 3, "{polls}");
            return;
        }
        run(attempts.manager.fail(&execution.id, Failure::new("killed").retryable(true))).unwrap();
        let outcome = attempts.next(work);
        RUNS.with_borrow(|runs| {
            assert!((1..=2).contains(&runs["charge 1"]) && (1..=2).contains(&runs["charge 2"]), "{runs:?}");
            assert!(runs.iter().all(|(effect, times)| !effect.starts_with("send") || *times == 1), "{runs:?}");
        });
        match outcome {
            Ok(sent) => assert_eq!(sent, (Ok(2), Ok(3))),
            Err(error) => assert_eq!(error.code(), "AT_MOST_ONCE"),
        }
    }
    panic!("it was never ready");
}

#[test]
fn what_was_begun_and_is_to_run_at_most_once_is_not_repeated() {
    let mut attempts = Attempts::new();
    attempts.killed(20, || send(99));
    let error = attempts.next(|| send(99)).unwrap_err();
    assert_eq!(error.code(), "AT_MOST_ONCE");
    assert!(error.to_string().contains("node `send` is to run at most once"), "{error}");
    let failure = error.failure();
    assert_eq!((failure.code.as_deref(), failure.retryable), (Some("AT_MOST_ONCE"), false));
    // Nothing that the handler does around it changes that.
    let error = attempts
        .next(|| async {
            tokio::select! { _ = send(99) => 0, () = once_pending() => 1 }
        })
        .unwrap_err();
    assert_eq!(error.code(), "AT_MOST_ONCE");
    assert_eq!(runs(), "send 99×1");
}

/// By another version of the program, by hand, or sealed by somebody.
#[test]
fn what_cannot_be_read_says_that_something_was() {
    let kept = [
        json!({ "value": 7, "by": "ann" }),
        json!({ "Value": 7 }),
        json!({ "started": 1, "note": "asked the bank" }),
        json!({ "sealed": {} }),
        json!("done, receipt 7"),
        json!(false),
    ];
    for kept in kept {
        RUNS.take();
        let mut attempts = Attempts::new();
        attempts.killed(1, || send(7));
        let (id, key) = (attempts.execution.id, attempts.execution.checkpoints.keys().next().unwrap().clone());
        let held = run(attempts.manager.start(&id)).unwrap();
        run(attempts.manager.checkpoint(&held.id, &key, &kept)).unwrap();
        run(attempts.manager.fail(&held.id, Failure::new("once more").retryable(true))).unwrap();
        let error = attempts.next(|| send(7)).unwrap_err();
        assert_eq!((error.code(), &*runs()), ("AT_MOST_ONCE", "send 7×1"), "{kept}");
        assert!(error.to_string().contains("found something else"), "{error}");
    }
}

/// As the documentation of `run_attempt` says.
#[test]
fn whoever_knows_says_what_has_become_of_a_node_that_was_interrupted() {
    for (said, returned, ran) in [(json!({ "value": 100 }), 100, "send 7×1"), (Value::Null, 8, "send 7×2")] {
        RUNS.take();
        let mut attempts = Attempts::new();
        attempts.killed(1, || send(7));
        assert_eq!(attempts.next(|| send(7)).unwrap_err().code(), "AT_MOST_ONCE");
        let (id, key) = (attempts.execution.id, attempts.execution.checkpoints.keys().next().unwrap().clone());
        assert!(key.starts_with("send@"), "{key}");
        run(attempts.manager.fail(&run(attempts.manager.start(&id)).unwrap().id, Failure::new("given up"))).unwrap();
        run(attempts.manager.redrive(&id)).unwrap();
        let attempt = run(attempts.manager.claim_by_id(&id, "operator", Duration::from_secs(30))).unwrap().unwrap();
        let held = attempts.manager.under(&attempt.token());
        run(held.checkpoint(&id, &key, said)).unwrap();
        run(held.release(&id, Duration::ZERO)).unwrap();
        assert_eq!(attempts.next(|| send(7)).unwrap(), returned);
        assert_eq!(runs(), ran);
    }
}

#[test]
fn what_was_begun_and_may_run_again_does() {
    #[traced_node(checkpoint = at_least_once)]
    async fn slow() -> u32 {
        ran("slow");
        once_pending().await;
        1
    }
    let mut attempts = Attempts::new();
    attempts.killed(1, slow);
    assert_eq!(attempts.next(slow).unwrap(), 1);
    assert_eq!(attempts.next(slow).unwrap(), 1);
    assert_eq!(runs(), "slow×2");
}

#[test]
fn tasks_that_take_the_trace_along_take_the_attempt_along() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        static RAN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        #[traced_node(checkpoint)]
        async fn far(number: u32) -> u32 {
            RAN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            number
        }
        async fn work() -> Vec<u32> {
            let tasks: Vec<_> = (0..8).map(|number| tokio::spawn(branch(async move { far(number).await }))).collect();
            let mut numbers = Vec::new();
            for task in tasks {
                numbers.push(task.await.unwrap());
            }
            numbers
        }
        let manager = manager();
        let id = manager.create(NewExecution::new("work").max_attempts(3)).await.unwrap().id;
        for _ in 0..3 {
            let execution = manager.start(&id).await.unwrap();
            let numbers = manager.run_attempt(&execution, work).await.unwrap();
            assert_eq!(numbers, (0..8).collect::<Vec<_>>());
            manager.fail(&id, Failure::new("no").retryable(true)).await.unwrap();
        }
        assert_eq!(RAN.load(std::sync::atomic::Ordering::Relaxed), 8);
    });
}

#[test]
fn a_stale_attempt_keeps_nothing_and_stops() {
    let mut attempts = Attempts::new();
    let stale = run(attempts.manager.start(&attempts.execution.id)).unwrap();
    run(attempts.manager.fail(&stale.id, Failure::new("no").retryable(true))).unwrap();
    attempts.next(|| async {}).unwrap();
    let error = run(attempts.manager.run_attempt(&stale, || charge(1))).unwrap_err();
    assert_eq!(error.code(), "LEASE_LOST");
    assert!(attempts.execution.checkpoints.is_empty());
}

/// Polls what it holds when it is dropped, as a runtime does that lives in a value.
struct PollsInDrop<F: Future>(Pin<Box<F>>);

impl<F: Future> Drop for PollsInDrop<F> {
    fn drop(&mut self) {
        poll(self.0.as_mut(), 2);
    }
}

/// Its output is dropped, and may do what ends the attempt, which has ended already.
#[test]
fn what_a_stopped_attempt_gives_may_stop_it_in_its_drop() {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let mut attempts = Attempts::new();
        let stale = run(attempts.manager.start(&attempts.execution.id)).unwrap();
        run(attempts.manager.fail(&stale.id, Failure::new("no").retryable(true))).unwrap();
        attempts.next(|| async {}).unwrap();
        let work = || async {
            let output = PollsInDrop(Box::pin(branch(charge(2))));
            poll(charge(1), 2);
            output
        };
        let error = run(attempts.manager.run_attempt(&stale, work)).err().map(|error| error.code());
        done.send((error, runs())).unwrap();
    });
    // What waits for a lock that its own thread holds waits for ever.
    let ended = is_done.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert_eq!(ended, (Some("LEASE_LOST"), "charge 1×1 charge 2×1".into()));
}

#[test]
fn a_result_of_another_type_is_made_anew_unless_that_is_forbidden() {
    mod old {
        #[tracer::traced_node("rate", checkpoint)]
        pub(super) async fn rate() -> u32 {
            1
        }
        #[tracer::traced_node("pay", checkpoint = at_most_once)]
        pub(super) async fn pay() -> u32 {
            1
        }
    }
    #[traced_node("rate", checkpoint)]
    async fn rate() -> String {
        "one".into()
    }
    #[traced_node("pay", checkpoint = at_most_once)]
    async fn pay() -> String {
        "one".into()
    }
    let mut attempts = Attempts::new();
    assert_eq!(attempts.next(|| async { old::rate().await + old::pay().await }).unwrap(), 2);
    assert_eq!(attempts.next(rate).unwrap(), "one");
    assert_eq!(attempts.next(pay).unwrap_err().code(), "AT_MOST_ONCE");
}

#[test]
fn the_trace_of_an_attempt_says_so_and_is_known_before() {
    let tracer = Tracer::builder().build();
    let recording = tracer::test::record_with(tracer.clone(), || {
        let mut attempts = Attempts::new();
        for _ in 0..2 {
            attempts.next(|| order(1)).unwrap().unwrap();
        }
        attempts.execution
    });
    let execution = recording.output;
    for epoch in 1..=2 {
        let token = tracer::execution::Lease { id: execution.id, epoch };
        let records = tracer.replay(token.trace_id());
        let env = envs(&records)[0];
        assert_eq!((env.env_id, &*env.source, env.cause), (token.env_id(), "work", tracer::Cause::Root));
        assert_eq!(env.payload["execution"], execution.id.to_string());
        let of = AttemptOf::of(env).unwrap();
        assert_eq!((of.token(), of.attempt), (token, u32::try_from(epoch).unwrap()));
        // A node that gives back what was kept is entered and left all the same.
        let nodes: Vec<&str> = steps(&records).iter().map(|step| &*step.node).collect();
        assert_eq!(nodes, ["order", "charge", "charge", "send", "send", "order"]);
    }
    let of_another = tracer::test::record(|| tracer::create_env(execution.latest_attempt(), "work"));
    assert_eq!(AttemptOf::of(envs(&of_another.records())[0]), None, "it only says so");
}

#[traced_node]
async fn note(number: usize) -> usize {
    number
}

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Pages end anywhere in what is said of them, and lines of JSON have none.
#[test]
fn each_of_many_attempts_has_a_trace_that_says_so_wherever_that_lies() {
    let file = File::default();
    let lines = Tracer::builder().recorder(tracer::JsonLines::to_writer(file.clone()).unwrap()).build();
    let memory = Tracer::builder().build();
    let all = |tracer: &Tracer| {
        let recording = tracer::test::record_with(tracer.clone(), || {
            let manager = manager();
            let attempt = |number: usize| {
                let type_ = "t".repeat(1 + number % 131);
                let execution = run(manager.create(NewExecution::new(type_))).unwrap();
                let execution = run(manager.start(&execution.id)).unwrap();
                let noted = run(manager.run_attempt(&execution, || note(number))).unwrap();
                assert_eq!(noted, number);
                run(note(number));
                execution
            };
            (0..400).map(attempt).collect::<Vec<_>>()
        });
        recording.output
    };
    let (mut seq, mut ts) = (0, 1);
    for execution in all(&memory) {
        let records = memory.replay(execution.token().trace_id());
        let (env, last) = (envs(&records)[0], *steps(&records).last().unwrap());
        assert!(seq < env.seq && env.seq < last.seq && ts <= env.ts && env.ts <= last.ts);
        (seq, ts) = (last.seq, last.ts);
        assert_eq!((AttemptOf::of(env), &*env.source), (Some(execution.latest_attempt()), &*execution.type_));
        let nodes: Vec<&str> = steps(&records).iter().map(|step| &*step.node).collect();
        assert_eq!(nodes, ["note", "note"]);
    }
    let executions = all(&lines);
    lines.flush();
    let text = String::from_utf8(file.0.lock().unwrap().clone()).unwrap();
    let said: Vec<AttemptOf> = text
        .lines()
        .filter_map(|line| {
            serde_json::from_str(line).ok().as_ref().and_then(tracer::Record::as_env).and_then(AttemptOf::of)
        })
        .collect();
    assert_eq!(said, executions.iter().map(Execution::latest_attempt).collect::<Vec<_>>());
}

/// What a trace is made of is used again for the next.
#[test]
fn forks_of_attempts_that_follow_each_other_are_of_their_own_type() {
    let tracer = Tracer::builder().build();
    let recording = tracer::test::record_with(tracer.clone(), || {
        let manager = manager();
        let attempt = |type_: &str| {
            let execution = run(manager.create(NewExecution::new(type_))).unwrap();
            let execution = run(manager.start(&execution.id)).unwrap();
            run(manager.run_attempt(&execution, || branch(order(1)))).unwrap().unwrap();
            execution.token().trace_id()
        };
        ["one", "other", "other", "one"].map(|type_| (type_, attempt(type_)))
    });
    for (type_, trace) in recording.output {
        let records = tracer.replay(trace);
        let sources: Vec<&str> = envs(&records).into_iter().map(|env| env.source.as_str()).collect();
        assert_eq!(sources, [type_; 2]);
    }
}

#[test]
fn nothing_keeps_the_store_of_an_attempt_that_is_over() {
    struct Watched(Arc<Mutex<u64>>);
    impl tracer::Random for Watched {
        fn bits(&self) -> u64 {
            let mut last = self.0.lock().unwrap();
            *last += 1;
            *last
        }
    }
    let random = Arc::new(Mutex::new(0));
    let manager = manager().with_random(Watched(random.clone()));
    let execution = run(manager.create(NewExecution::new("work"))).unwrap();
    let execution = run(manager.start(&execution.id)).unwrap();
    run(manager.run_attempt(&execution, || order(1))).unwrap().unwrap();
    drop(manager);
    assert_eq!(Arc::strong_count(&random), 1);
}
