//! A function on AWS Lambda: as much of a client of its Runtime API (version 2018-06-01) as a black box has to do with.
//! The real one, `lambda_runtime`, would be some hundred crates more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use tracer::traced_node;
use tracer_blackbox::Init;

const API: &str = "/2018-06-01/runtime/invocation";

/// Handles invocations until it is killed.
pub(crate) fn serve(directory: &str) -> ! {
    let black_box = Init::default().directory(directory).init().unwrap();
    loop {
        let (head, event) = request("GET", "/next", "");
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
        let deadline_ms: u64 = header("Lambda-Runtime-Deadline-Ms").parse().unwrap();
        black_box.set_deadline(Some(SystemTime::UNIX_EPOCH + Duration::from_millis(deadline_ms)));
        let answer = handle(&event);
        black_box.set_deadline(None);
        request("POST", &format!("/{}/response", header("Lambda-Runtime-Aws-Request-Id")), &answer);
    }
}

/// What comes back: head and body. The connection is closed behind it.
fn request(method: &str, path: &str, body: &str) -> (String, String) {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let mut stream = TcpStream::connect(&api).unwrap();
    let len = body.len();
    write!(stream, "{method} {API}{path} HTTP/1.1\r\nHost: {api}\r\nContent-Length: {len}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[traced_node(record(event))]
fn handle(event: &str) -> String {
    look_up(event == "slow");
    format!("done: {event}")
}

#[traced_node(record(for_ever))]
fn look_up(for_ever: bool) {
    if for_ever {
        loop {
            std::thread::park();
        }
    }
}
