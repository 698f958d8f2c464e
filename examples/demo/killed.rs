//! The second act: the service is killed in the middle of deliveries, and `tracer show last` says what each was doing.
//!
//! The service runs in a process of its own, this program again, with a black box in a directory that is gone
//! afterwards. The board leaves some notices without an answer: then the process is inside the node that waits.

use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::service::{self, Service};
use crate::{Board, Case, Mood, Paint, SECRET, SOUND, WIDTH, deliver};

/// What the service is told to be its work: the first argument.
pub(crate) const SERVE: &str = "serve";

const ANSWERED: Case =
    Case { about: "a push of two commits", payload: "github_push.json", event: Some("push"), ..SOUND };

/// Deliveries that wait for the board when the service is killed, in the order in which they came.
const WAITING: [Case; 3] = [
    Case {
        about: "a pull request is opened",
        payload: "github_pull_request.json",
        event: Some("pull_request"),
        board: Mood::SaysNothing,
        ..SOUND
    },
    Case {
        about: "an invoice was not paid",
        payload: "stripe_invoice_payment_failed.json",
        board: Mood::SaysNothing,
        ..SOUND
    },
    Case {
        about: "a checkout is complete; the board is busy, once",
        payload: "stripe_checkout_session_completed.json",
        board: Mood::IsBusyThenSaysNothing,
        ..SOUND
    },
];

/// What is open in a delivery that waits: nodes, with the values that say which delivery it is.
fn open_in(topic: &str, attempt: u32) -> [Value; 4] {
    let open = |node: &str, arguments: Value| json!({"node": node, "arguments": arguments});
    [
        open("handle", Value::Null),
        open("process", Value::Null),
        open("send", json!({"topic": topic})),
        open("attempt", json!({"number": attempt})),
    ]
}

/// The service that is going to be killed: says where it is, and goes on until its standard input ends.
pub(crate) async fn serve(board: SocketAddr) -> Result<(), Box<dyn Error>> {
    // All that the service needs, so that what it does outlives it.
    tracer_blackbox::init();
    let service = Service { secret: SECRET.to_owned(), board, patience: Duration::from_mins(10) };
    println!("{}", service::serve(service::router(service)).await?);
    // Whoever started it may be gone without a word.
    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    Ok(())
}

/// Starts the service, kills it, and shows what its black box says.
pub(crate) async fn run(paint: Paint, board: &Board, board_at: SocketAddr) -> Result<(), Box<dyn Error>> {
    let tracer = program()?;
    let directory = tempfile::Builder::new().prefix("tracer-demo-").tempdir()?;
    let (mut server, service_at) = Server::start(&directory, board_at)?;

    println!("{}", paint.bold("The service is killed in the middle of deliveries"));
    board.set(ANSWERED.board);
    let (status, _) = deliver(service_at, &ANSWERED).await?;
    print_delivery(ANSWERED.about, &status.to_string());
    if status.as_u16() != ANSWERED.status {
        return Err(format!("expected the answer {}, found {status}", ANSWERED.status).into());
    }
    for (nth, case) in WAITING.iter().enumerate() {
        board.set(case.board);
        tokio::spawn(async move { deliver(service_at, case).await.is_ok() });
        // Whether it came, and no longer: the board has the notice, so the service is where it sends it.
        reached(board, nth + 1).await?;
        print_delivery(case.about, "waits for the board");
    }
    print_delivery("the service", &server.kill()?);
    println!();
    println!("    {}", paint.bold("$ tracer show last"));
    let shown = ask(&tracer, &directory, &["show", "last", "--color", if paint.0 { "always" } else { "never" }])?;
    for line in shown.lines() {
        println!("{}", format!("    {line}").trim_end());
    }
    println!();
    check(&tracer, &directory)?;
    println!(
        "    {:>4} deliveries, each found in the black box as it was when the service was killed",
        1 + WAITING.len()
    );
    Ok(())
}

fn print_delivery(about: &str, became: &str) {
    println!("    {about}{became:>width$}", width = WIDTH.saturating_sub(4 + about.chars().count()));
}

async fn reached(board: &Board, held: usize) -> Result<(), String> {
    for _ in 0..2_000 {
        if board.held() == held {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Err(format!("expected {held} notices that the board does not answer, found {}", board.held()))
}

/// The same that was printed, as JSON: each delivery is there, with what it was doing.
fn check(tracer: &Path, directory: &TempDir) -> Result<(), String> {
    let line = ask(tracer, directory, &["show", "last", "--json"])?;
    let shown: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
    let expect = |what: &str, expected: Value, found: Value| {
        if found == expected { Ok(()) } else { Err(format!("{what}: expected {expected}, found {found}")) }
    };
    let nodes = |list: &Value| -> Value {
        let open = |open: &Value| json!({"node": open["node"], "arguments": open["arguments"]});
        list.as_array().into_iter().flatten().map(open).collect()
    };
    expect("the open nodes of the last delivery", json!(open_in("sales", 2)), nodes(&shown["open"]))?;
    let beside = [open_in("sales", 1), open_in("harbour-labs/tide-tables", 1)].concat();
    expect("the open nodes of the other deliveries", json!(beside), nodes(&shown["beside"]))?;
    expect("what was delivered last", json!({"bytes": 3234, "sender": "stripe"}), shown["payload"].clone())?;
    expect("its state", json!("lost"), shown["state"].clone())?;
    let death = shown["files"][0]["death"].as_str().unwrap_or_default();
    if !death.starts_with("killed") {
        return Err(format!("expected a service that was killed, found `{death}`"));
    }
    let listed = ask(tracer, directory, &["ls", "--json"])?;
    let states = listed.lines().map(|line| serde_json::from_str::<Value>(line).map(|trace| trace["state"].clone()));
    let states: Vec<_> = states.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    expect("the states of all deliveries, newest first", json!(["lost", "lost", "lost", "ok"]), json!(states))
}

/// What the program prints, run where the service ran.
pub(crate) fn ask(tracer: &Path, directory: &TempDir, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(tracer);
    command.args(arguments).current_dir(directory).env_remove("TRACER_DIR").stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{}: {error}", tracer.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`tracer {}` ended with {}: {said}", arguments.join(" "), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// The program `tracer`: `target/debug/tracer` beside `target/debug/examples/demo`.
pub(crate) fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.parent().and_then(Path::parent).map(|profile| profile.join("tracer"));
    let found = beside.filter(|path| path.is_file());
    found.ok_or_else(|| "the program `tracer` is not built: `cargo xtask demo` does all that is needed".to_owned())
}

/// The process of the service. It does not outlive this one.
struct Server(Child);

impl Server {
    fn start(directory: &TempDir, board: SocketAddr) -> Result<(Self, SocketAddr), Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SERVE, &board.to_string()]).current_dir(directory);
        // So that the black box is where it is by default: in `.tracer` of the working directory.
        command.env_remove("TRACER_DIR").env_remove("AWS_LAMBDA_FUNCTION_NAME");
        let mut server = Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut said = String::new();
        BufReader::new(server.0.stdout.take().ok_or("no standard output")?).read_line(&mut said)?;
        let address = said.trim().parse().map_err(|_| format!("expected an address of the service, found `{said}`"))?;
        Ok((server, address))
    }

    /// With the signal that no process can handle.
    fn kill(&mut self) -> Result<String, Box<dyn Error>> {
        self.0.kill()?;
        died(self.0.wait()?)
    }
}

/// How a process that was killed has ended.
pub(crate) fn died(status: ExitStatus) -> Result<String, Box<dyn Error>> {
    if status.signal().is_none() {
        return Err(format!("expected a process that was killed, found {status}").into());
    }
    Ok(status.to_string())
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already, as is meant.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
