//! The whole of it in three acts, run by `cargo xtask demo`.
//!
//! Starts the service of `axum.rs` and the board that it sends to, delivers everything in `payloads/` over HTTP, and
//! prints the trace of each delivery, then where the bad ones failed, the time each node took, and the stats. Ends with
//! an error if any answer or trace is not the expected one. In the second act, the service is killed: see
//! `demo/killed.rs`; in the third, a batch import: see `demo/resumed.rs`. The payloads have every field that their senders document;
//! names, numbers and addresses are made up.

#[path = "demo/killed.rs"]
mod killed;
#[path = "demo/resumed.rs"]
mod resumed;
#[path = "axum.rs"]
#[expect(dead_code, reason = "its `main` is that of the other example")]
mod service;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use service::{Sender, Service};
use tracer::TraceId;
use tracer::TraceState;
use tracer::tree::{Pattern, Span, SpanOutcome, Tree};

const SECRET: &str = "it's a secret";
const WIDTH: usize = 100;

/// One delivery, and what is to become of it.
struct Case {
    about: &'static str,
    /// In `payloads/`; its beginning says who sends it.
    payload: &'static str,
    /// The event that GitHub names in a header.
    event: Option<&'static str>,
    /// What it is signed with.
    secret: &'static str,
    board: Mood,
    status: u16,
    trace: &'static str,
    state: TraceState,
    /// Part of what the trace says of the failure.
    why: &'static str,
}

/// What the board does with a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Shows,
    /// The next notice is refused, those after it are shown.
    IsBusyOnce,
    IsBusy,
    SaysNothing,
    /// The next notice is refused, those after it get no answer.
    IsBusyThenSaysNothing,
}

const DELIVERED: &str = "handle > verify, parse, validate, process > send > attempt";

const SOUND: Case = Case {
    about: "",
    payload: "",
    event: None,
    secret: SECRET,
    board: Mood::Shows,
    status: 200,
    trace: DELIVERED,
    state: TraceState::Ok,
    why: "",
};

const BAD: Case = Case { state: TraceState::Failed, ..SOUND };

const CASES: &[Case] = &[
    Case {
        about: "GitHub tries the address",
        payload: "github_ping.json",
        event: Some("ping"),
        trace: "handle > verify, parse, validate, process",
        ..SOUND
    },
    Case { about: "a push of two commits", payload: "github_push.json", event: Some("push"), ..SOUND },
    Case {
        about: "a pull request is opened",
        payload: "github_pull_request.json",
        event: Some("pull_request"),
        ..SOUND
    },
    Case { about: "an issue is opened", payload: "github_issues.json", event: Some("issues"), ..SOUND },
    Case { about: "a charge succeeded", payload: "stripe_charge_succeeded.json", ..SOUND },
    Case { about: "an invoice was not paid", payload: "stripe_invoice_payment_failed.json", ..SOUND },
    Case { about: "a checkout is complete", payload: "stripe_checkout_session_completed.json", ..SOUND },
    Case {
        about: "the board is busy, once",
        payload: "github_push.json",
        event: Some("push"),
        board: Mood::IsBusyOnce,
        trace: "handle > verify, parse, validate, process > send > attempt!(SendError), attempt",
        state: TraceState::Recovered,
        why: "the board answered 503",
        ..SOUND
    },
    Case {
        about: "signed with another secret",
        payload: "github_push.json",
        event: Some("push"),
        secret: "a guess",
        status: 401,
        trace: "handle^ > verify!(SignatureError)",
        why: "not signed with our secret",
        ..BAD
    },
    Case {
        about: "JSON that breaks off",
        payload: "github_push_truncated.json",
        event: Some("push"),
        status: 400,
        trace: "handle^ > verify, parse!(ParseError)",
        why: "EOF while parsing a string at line",
        ..BAD
    },
    Case {
        about: "a field is missing",
        payload: "github_issues_without_number.json",
        event: Some("issues"),
        status: 400,
        trace: "handle^ > verify, parse!(ParseError)",
        why: "missing field `number`",
        ..BAD
    },
    Case {
        about: "an event that nobody handles",
        payload: "github_star.json",
        event: Some("star"),
        status: 400,
        trace: "handle^ > verify, parse!(ParseError)",
        why: "nobody handles `star`",
        ..BAD
    },
    Case {
        about: "an event of the other sender that nobody handles",
        payload: "stripe_charge_refunded.json",
        status: 400,
        trace: "handle^ > verify, parse!(ParseError)",
        why: "nobody handles `charge.refunded`",
        ..BAD
    },
    Case {
        about: "an amount below zero",
        payload: "stripe_charge_negative.json",
        status: 422,
        trace: "handle^ > verify, parse, validate!(ValidationError)",
        why: "negative amount -1900",
        ..BAD
    },
    Case {
        about: "the board stays busy",
        payload: "stripe_checkout_session_completed.json",
        board: Mood::IsBusy,
        status: 502,
        trace: "handle^ > verify, parse, validate, process^ > send^ > attempt!(SendError)*3",
        why: "the board answered 503",
        ..BAD
    },
    Case {
        about: "the board does not answer",
        payload: "github_pull_request.json",
        event: Some("pull_request"),
        board: Mood::SaysNothing,
        status: 504,
        trace: "handle^ > verify, parse, validate, process^ > send^ > attempt!cancelled",
        why: "cancelled",
        ..BAD
    },
    Case {
        about: "the handler panics: a branch was deleted, a push without commits",
        payload: "github_push_branch_deleted.json",
        event: Some("push"),
        status: 500,
        trace: "handle^ > verify, parse, validate, process!panic",
        why: "a push has commits",
        ..BAD
    },
];

/// The second server.
#[derive(Clone)]
struct Board(Arc<Mutex<Notices>>);

/// What became of the notices.
struct Notices {
    mood: Mood,
    shown: usize,
    /// Those that get no answer.
    held: usize,
}

impl Board {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Notices { mood: Mood::Shows, shown: 0, held: 0 })))
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(&self) -> Router {
        Router::new().route("/notices", post(show)).with_state(self.clone())
    }

    /// What it does from now on.
    fn set(&self, mood: Mood) {
        self.notices().mood = mood;
    }

    /// How many notices it shows.
    fn shown(&self) -> usize {
        self.notices().shown
    }

    /// How many notices it has and does not answer.
    fn held(&self) -> usize {
        self.notices().held
    }

    fn answer(&self) -> Option<StatusCode> {
        let mut notices = self.notices();
        let next = match notices.mood {
            Mood::IsBusyOnce => Mood::Shows,
            Mood::IsBusyThenSaysNothing => Mood::SaysNothing,
            same => same,
        };
        match std::mem::replace(&mut notices.mood, next) {
            Mood::Shows => {
                notices.shown += 1;
                Some(StatusCode::CREATED)
            }
            Mood::IsBusyOnce | Mood::IsBusy | Mood::IsBusyThenSaysNothing => Some(StatusCode::SERVICE_UNAVAILABLE),
            Mood::SaysNothing => {
                notices.held += 1;
                None
            }
        }
    }
}

async fn show(State(board): State<Board>) -> StatusCode {
    match board.answer() {
        Some(status) => status,
        None => std::future::pending().await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // The panic among the cases is meant, and its trace says what it said.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &*arguments {
        [] => run().await,
        [verb, board] if verb == killed::SERVE => match board.parse() {
            Ok(board) => killed::serve(board).await,
            Err(error) => Err(Box::from(error)),
        },
        [verb, directory, name] if verb == resumed::IMPORT => resumed::work(directory.as_ref(), name).await,
        _ => Err("it takes no arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let paint = Paint(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let board = Board::new();
    let board_at = service::serve(board.router()).await?;
    let patience = Duration::from_millis(150);
    let service_at =
        service::serve(service::router(Service { secret: SECRET.to_owned(), board: board_at, patience })).await?;

    let mut trees = Vec::new();
    for (nth, case) in CASES.iter().enumerate() {
        board.set(case.board);
        let (status, trace_id) = deliver(service_at, case).await?;
        let tree = Tree::of(&tracer::replay(trace_id), &tracer::active_traces()).pop().ok_or("a trace is missing")?;
        print_case(paint, nth + 1, case, status, &tree);
        check(case, status, &tree).map_err(|problem| format!("delivery {}: {problem}", nth + 1))?;
        trees.push(tree);
    }
    let sent = CASES.iter().filter(|case| case.status == 200 && case.event != Some("ping")).count();
    if board.shown() != sent {
        return Err(format!("expected {sent} notices on the board, found {}", board.shown()).into());
    }
    print_failures(paint, &trees);
    print_nodes(paint, &trees);
    print_stats(paint)?;
    println!();
    // A board of its own: the delivery that timed out above left a notice without an answer.
    let board = Board::new();
    let board_at = service::serve(board.router()).await?;
    killed::run(paint, &board, board_at).await?;
    resumed::run(paint).await
}

/// Sends one payload, signed, as its sender would; gives the status of the answer and the trace that it names.
async fn deliver(to: std::net::SocketAddr, case: &Case) -> Result<(StatusCode, TraceId), Box<dyn Error>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("payloads").join(case.payload);
    let body = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (sender, address) = match case.payload.split_once('_') {
        Some(("github", _)) => (Sender::GitHub, "/webhooks/github"),
        _ => (Sender::Stripe, "/webhooks/stripe"),
    };
    let mut headers = vec![sender.sign(case.secret, &body)];
    headers.extend(case.event.map(|event| ("x-github-event", event.to_owned())));
    let (status, headers, _) = service::post_json(to, address, &headers, body.into()).await?;
    let trace_id = headers.get(service::TRACE_HEADER).ok_or("the answer names no trace")?;
    Ok((status, trace_id.to_str()?.parse()?))
}

fn check(case: &Case, status: StatusCode, tree: &Tree) -> Result<(), String> {
    let expected: Pattern = case.trace.parse().map_err(|error| format!("{error}"))?;
    if status.as_u16() != case.status {
        return Err(format!("expected the answer {}, found {status}", case.status));
    }
    if !expected.matches(&tree.spans) {
        return Err(format!("expected the trace `{expected}`, found `{}`", tree.to_line()));
    }
    if tree.state != case.state {
        return Err(format!("expected a trace that is {:?}, found {:?}", case.state, tree.state));
    }
    if !tree.violations.is_empty() {
        return Err(format!("expected the flow to be kept, found {:?}", tree.violations));
    }
    match (last_failure(tree), case.why) {
        (None, "") => Ok(()),
        (Some((_, said)), why) if !why.is_empty() && said.contains(why) => Ok(()),
        (failure, why) => Err(format!("expected a failure because of `{why}`, found {failure:?}")),
    }
}

/// The last node that failed by itself, and what it said.
fn last_failure(tree: &Tree) -> Option<(&str, String)> {
    spans(tree).into_iter().rev().find_map(|span| match &span.outcome {
        SpanOutcome::Failed(error) => Some((span.node.as_str(), error.to_string())),
        _ => None,
    })
}

fn spans(tree: &Tree) -> Vec<&Span> {
    tree.spans.iter().flat_map(Span::walk).collect()
}

fn print_case(paint: Paint, nth: usize, case: &Case, status: StatusCode, tree: &Tree) {
    let head = format!("{nth:>2}  {}", case.about);
    let status_color = if status.is_success() { Color::Green } else { Color::Red };
    let room = WIDTH.saturating_sub(head.chars().count());
    println!("{}{}", paint.bold(&head), paint.color(status_color, &format!("{:>room$}", status.to_string())));
    for line in format!("{tree:#}").lines() {
        println!("    {}", paint.line(line));
    }
    println!();
}

fn print_failures(paint: Paint, trees: &[Tree]) {
    println!("{}", paint.bold("Where they failed"));
    for (nth, tree) in trees.iter().enumerate() {
        if let Some((node, said)) = last_failure(tree) {
            let handled = if tree.state == TraceState::Recovered { " (and was handled)" } else { "" };
            println!("    {:>2}  {node:<9} {said}{handled}", nth + 1);
        }
    }
    println!();
}

/// Calls, failures and times by node, in the order in which they were first called.
fn print_nodes(paint: Paint, trees: &[Tree]) {
    let mut nodes: Vec<(&str, Vec<Duration>, usize)> = Vec::new();
    for span in trees.iter().flat_map(spans) {
        let place = nodes.iter().position(|(name, ..)| *name == span.node).unwrap_or_else(|| {
            nodes.push((&span.node, Vec::new(), 0));
            nodes.len() - 1
        });
        nodes[place].1.extend(span.duration_ns.map(Duration::from_nanos));
        nodes[place].2 += usize::from(matches!(span.outcome, SpanOutcome::Failed(_)));
    }
    println!("{}", paint.bold("Nodes         calls   failed       median         most"));
    for (name, mut times, failed) in nodes {
        times.sort_unstable();
        let time = |at: usize| times.get(at).map(|time| in_ms(*time)).unwrap_or_default();
        let (median, most) = (time(times.len() / 2), time(times.len().saturating_sub(1)));
        println!("    {name:<9} {:>5} {failed:>8} {median:>12} {most:>12}", times.len());
    }
    println!();
}

/// In one unit, so that a column can be compared by eye.
fn in_ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn print_stats(paint: Paint) -> Result<(), Box<dyn Error>> {
    let stats = tracer::stats();
    let count = |state| stats.traces.iter().filter(|trace| trace.state == state).count();
    let (ok, recovered) = (count(TraceState::Ok), count(TraceState::Recovered));
    println!("{}", paint.bold("Stats"));
    println!("    {:>4} deliveries, each answered and traced as expected", CASES.len());
    println!(
        "    {:>4} traces: {ok} ok, {recovered} ok after a retry, {} failed",
        stats.traces.len(),
        count(TraceState::Failed)
    );
    println!("    {:>4} records, {} dropped", stats.total_records, stats.dropped);
    println!("    {:>4} traces still running, {} flow violations", stats.active_traces, stats.violations);
    if (stats.active_traces, stats.dropped, stats.violations) == (0, 0, 0) && stats.traces.len() == CASES.len() {
        return Ok(());
    }
    Err(format!("expected {} finished traces, nothing dropped and no violation", CASES.len()).into())
}

/// Colours, if there is someone to see them.
#[derive(Clone, Copy)]
struct Paint(bool);

#[derive(Clone, Copy)]
enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Paint {
    fn with(self, code: u8, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with(1, text)
    }

    fn dim(self, text: &str) -> String {
        self.with(2, text)
    }

    fn color(self, color: Color, text: &str) -> String {
        self.with(color as u8, text)
    }

    /// A line of a drawing: its first character says how the node ended.
    fn line(self, line: &str) -> String {
        let mut chars = line.chars();
        let mark = chars.next();
        let rest = chars.as_str();
        match mark {
            Some('✓') => format!("{}{rest}", self.color(Color::Green, "✓")),
            Some('↑') => format!("{}{rest}", self.color(Color::Yellow, "↑")),
            Some('✗') => self.color(Color::Red, line),
            _ => self.dim(line),
        }
    }
}
