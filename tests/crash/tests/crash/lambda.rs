//! What AWS Lambda does to programs: it freezes them between invocations, and kills them when one takes too long; the
//! next process finds the same `/tmp`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tracer::{Record, Status};
use tracer_blackbox::{Death, recover_file};

use crate::child::{Directory, Running, command, start, start_command};
use crate::deaths::{now, unix_ms};
use crate::kills::{acknowledged, wait_for_calls};

/// The Runtime API, of which a function asks for work.
struct Lambda {
    address: String,
    requests: Receiver<(String, TcpStream)>,
}

impl Lambda {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = request(&mut stream);
                if sender.send((head, stream)).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    /// Starts the function, and waits until it asks for work.
    fn start(&self, directory: &Path) -> Function {
        let mut function = command("lambda", directory, &[]);
        function.env("AWS_LAMBDA_RUNTIME_API", &self.address).env_remove("TRACER_QUIET");
        let running = start_command(function);
        Function { running, asks: self.next() }
    }

    /// The connection on which the function asks for work.
    fn next(&self) -> TcpStream {
        let (request, stream) = self.requests.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(request.starts_with("GET /2018-06-01/runtime/invocation/next "), "{request}");
        stream
    }

    /// Gives it an event, and until then. `None`: it has killed it, as it gave no answer in time.
    fn invoke(&self, mut function: Function, event: &str, deadline_ms: u64) -> Option<Function> {
        let len = event.len();
        let head = format!("Lambda-Runtime-Aws-Request-Id: 17\r\nLambda-Runtime-Deadline-Ms: {deadline_ms}");
        write!(function.asks, "HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {len}\r\n\r\n{event}").unwrap();
        drop(function.asks);
        let left = Duration::from_millis(deadline_ms.saturating_sub(unix_ms()));
        let Ok((request, mut stream)) = self.requests.recv_timeout(left) else {
            function.running.kill();
            return None;
        };
        assert!(request.starts_with("POST /2018-06-01/runtime/invocation/17/response "), "{request}");
        stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").unwrap();
        drop(stream);
        Some(Function { running: function.running, asks: self.next() })
    }
}

/// A function that waits for work.
struct Function {
    running: Running,
    asks: TcpStream,
}

/// A request, with its body.
fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let len = stream.read(&mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if body.len() == announced.parse::<usize>().unwrap() {
            return text;
        }
    }
}

#[test]
fn an_invocation_that_took_too_long_is_told_once_by_the_next_start() {
    let (lambda, directory) = (Lambda::new(), Directory::new());
    let function = lambda.start(directory.path());
    let function = lambda.invoke(function, "fast", unix_ms() + 60_000).unwrap();
    let deadline_ms = unix_ms() + 300;
    assert!(lambda.invoke(function, "slow", deadline_ms).is_none());

    let [file] = &directory.files()[..] else { panic!("one file") };
    let recovered = recover_file(file).unwrap();
    assert_eq!(recovered.death, Death::DeadlineExceeded { deadline_ms });
    let open: Vec<_> = recovered.open.iter().map(|node| (&*node.node, node.arguments.clone())).collect();
    assert_eq!(open, [("handle", json!({"event": "slow"})), ("look_up", json!({"for_ever": true}))]);

    let next = lambda.start(directory.path());
    // Long over when it is killed: what was answered in time has no deadline any more.
    let answered_by = unix_ms() + 400;
    let next = lambda.invoke(next, "fast", answered_by).unwrap();
    thread::sleep(Duration::from_millis(answered_by.saturating_sub(unix_ms()) + 1));
    let told = next.running.kill_when_told("lists all");
    assert_eq!(told.matches("ended by its host: the deadline was exceeded").count(), 1, "{told}");
    assert_eq!(told.matches(r#"handle was running with {"event":"slow"}"#).count(), 1, "{told}");
    assert!(!told.contains("fast"), "what had been answered is not told: {told}");

    // The one before it was killed while it waited for work. That is told, and nothing once more.
    let last = lambda.start(directory.path()).running.kill_when_told("lists all");
    assert!(!last.contains("deadline") && !last.contains("was running"), "{last}");
    assert_eq!(last.matches(") killed\n").count(), 1, "{last}");
}

/// How long it is frozen: more than anything that is recorded takes, and than an event can say has passed (2^34 ticks, 7 s
/// where the counter has 2.4 GHz).
const FROZEN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 60 });

/// How long each call took, in the order in which they ended; times that go back are an error.
fn durations(records: &[Record], node: &str) -> Vec<Duration> {
    let mut before = 0;
    let mut entered = None;
    let mut durations = Vec::new();
    for step in records.iter().filter_map(Record::as_step) {
        assert!(step.ts >= before, "{} after {before}", step.ts);
        before = step.ts;
        match step.status {
            _ if step.node != node => {}
            Status::Enter => entered = Some(step.ts),
            _ => durations.push(Duration::from_nanos(step.ts - entered.take().unwrap())),
        }
    }
    durations
}

/// Nothing that is recorded takes so long by itself.
const SLOW: Duration = Duration::from_millis(500);

fn freeze(running: &Running) {
    running.send("STOP");
    thread::sleep(FROZEN);
    running.send("CONT");
}

#[test]
fn a_freeze_between_invocations_makes_none_of_them_slow() {
    let (lambda, directory) = (Lambda::new(), Directory::new());
    let began = now();
    let mut function = lambda.start(directory.path());
    for _ in 0..2 {
        function = lambda.invoke(function, "fast", unix_ms() + 60_000).unwrap();
        freeze(&function.running);
    }
    function = lambda.invoke(function, "fast", unix_ms() + 60_000).unwrap();
    let all = now().saturating_sub(began);
    function.running.kill();
    let recovered = directory.recovered();
    let durations = durations(&recovered.records, "handle");
    assert_eq!(durations.len(), 3);
    assert!(durations.iter().all(|duration| *duration < SLOW), "{durations:?}");
    let times: Vec<u64> = recovered.records.iter().filter_map(Record::as_step).map(|step| step.ts).collect();
    let between = Duration::from_nanos(times[times.len() - 1] - times[0]);
    assert!(2 * FROZEN <= between && between <= all, "the freezes are between: {between:?} of {all:?}");
}

#[test]
fn a_freeze_in_the_midst_of_calls_makes_one_of_them_slow_at_most() {
    let directory = Directory::new();
    let running = start("count", directory.path(), &["1", "sync"]).ready();
    wait_for_calls(directory.path(), 1, 1000);
    let began = now();
    // The second that is acknowledged from here on has begun after that, so the last before the freeze has.
    wait_for_calls(directory.path(), 1, acknowledged(directory.path())[0] + 2);
    freeze(&running);
    wait_for_calls(directory.path(), 1, acknowledged(directory.path())[0] + 1000);
    let frozen = now().checked_sub(began).unwrap();
    running.kill();
    let records = directory.recovered().records;
    let slow: usize = ["item", "plain"]
        .map(|node| durations(&records, node).iter().filter(|duration| **duration >= SLOW).count())
        .iter()
        .sum();
    assert!(slow <= 1, "{slow} slow calls");
    // Wherever it was, in a call or between two: the time is there, once.
    let times: Vec<u64> = records.iter().filter_map(Record::as_step).map(|step| step.ts).collect();
    let gaps = times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0]));
    let long: Vec<_> = gaps.filter(|gap| *gap >= SLOW).collect();
    assert!(matches!(long[..], [gap] if (FROZEN * 99 / 100..=frozen).contains(&gap)), "{long:?}, of {frozen:?}");
}
