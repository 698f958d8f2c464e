//! How do I trace a web service?
//!
//! A receiver of webhooks on axum. Every delivery goes through the flow declared below, and leaves a trace that says
//! how far it came and, if it went no further, why. Run it with `cargo run -p tracer-examples --example axum`;
//! `cargo xtask demo` sends it everything in `payloads/`, good and bad.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use hmac::{Hmac, KeyInit, Mac};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracer::tree::Tree;
use tracer::{Context, traced_node};

tracer::flow! {
    /// What a delivery goes through.
    pub webhook {
        handle -> verify -> parse -> validate -> process -> send;
    }
}

/// What the service needs to know.
pub(crate) struct Service {
    /// Shared with the senders.
    pub(crate) secret: String,
    /// The second server: it shows notices to people.
    pub(crate) board: SocketAddr,
    /// How long the second server may take, attempts and pauses included.
    pub(crate) patience: Duration,
}

pub(crate) fn router(service: Service) -> Router {
    Router::new().route("/webhooks/{sender}", post(receive)).with_state(Arc::new(service))
}

/// The header of every answer that names the trace.
pub(crate) const TRACE_HEADER: &str = "x-trace-id";

async fn receive(
    State(service): State<Arc<Service>>,
    Path(sender): Path<Sender>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (event, signature) = (text("x-github-event"), text(sender.signature_header()));
    let delivery = Delivery { sender, event, bytes: body.len(), signature, body };
    // The trace begins here, with what is known of the request. Without this it would begin in `handle`.
    let ctx = tracer::create_env(&delivery, "POST /webhooks");
    let trace = [(TRACE_HEADER, ctx.trace_id().to_string())];
    // In a task of its own, a panic is the loss of one delivery, and a sender that hangs up stops nothing.
    let answer = match tokio::spawn(handle(ctx, service, delivery)).await {
        Ok(Ok(receipt)) => Json(receipt).into_response(),
        Ok(Err(error)) => (error.status(), Json(json!({"error": error.to_string()}))).into_response(),
        Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    (trace, answer)
}

#[traced_node(webhook::handle)]
async fn handle(_ctx: Context, service: Arc<Service>, delivery: Delivery) -> Result<Receipt, WebhookError> {
    verify(&service.secret, &delivery)?;
    let event = parse(&delivery)?;
    validate(&event)?;
    Ok(process(&service, &event).await?)
}

/// Whether the delivery was signed with the secret. (A service in earnest refuses old signatures, too.)
#[traced_node(webhook::verify)]
fn verify(secret: &str, delivery: &Delivery) -> Result<(), SignatureError> {
    let header = delivery.sender.signature_header();
    let signature = delivery.signature.as_deref().ok_or(SignatureError::Missing { header })?;
    let parts = match delivery.sender {
        Sender::GitHub => signature.strip_prefix("sha256=").map(|hex| ("", hex)),
        Sender::Stripe => signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")),
    };
    let (time, hex) = parts.ok_or(SignatureError::Malformed { header })?;
    let signature = unhex(hex).ok_or(SignatureError::Malformed { header })?;
    mac(secret, time, &delivery.body).verify_slice(&signature).map_err(|_| SignatureError::Mismatch)
}

#[traced_node(webhook::parse)]
fn parse(delivery: &Delivery) -> Result<Event, ParseError> {
    let body = &*delivery.body;
    match delivery.sender {
        Sender::GitHub => {
            let event = delivery.event.as_deref().ok_or(ParseError::NoEvent)?;
            let parsed = match event {
                "ping" => serde_json::from_slice(body).map(|Ping {}| Event::Ping),
                "push" => serde_json::from_slice(body).map(Event::Push),
                "pull_request" => serde_json::from_slice(body).map(Event::PullRequest),
                "issues" => serde_json::from_slice(body).map(Event::Issues),
                _ => return Err(ParseError::Unknown { event: event.to_owned() }),
            };
            parsed.map_err(|source| ParseError::Body { event: event.to_owned(), source })
        }
        Sender::Stripe => {
            let failed = |event: &str, source| ParseError::Body { event: event.to_owned(), source };
            let outer: StripeEvent = serde_json::from_slice(body).map_err(|source| failed("event", source))?;
            let (event, object) = (outer.event, outer.data.object);
            let parsed = match event.as_str() {
                "charge.succeeded" => serde_json::from_value(object).map(Event::ChargeSucceeded),
                "invoice.payment_failed" => serde_json::from_value(object).map(Event::InvoicePaymentFailed),
                "checkout.session.completed" => serde_json::from_value(object).map(Event::CheckoutCompleted),
                _ => return Err(ParseError::Unknown { event }),
            };
            parsed.map_err(|source| failed(&event, source))
        }
    }
}

/// Whether an event that can be read also makes sense.
#[traced_node(webhook::validate)]
fn validate(event: &Event) -> Result<(), ValidationError> {
    match event {
        Event::Push(push) if !push.git_ref.starts_with("refs/") => {
            Err(ValidationError::NoRef { found: push.git_ref.clone() })
        }
        Event::Ping | Event::Push(_) | Event::PullRequest(_) | Event::Issues(_) => Ok(()),
        Event::ChargeSucceeded(charge) => money(&charge.id, charge.amount, &charge.currency),
        Event::InvoicePaymentFailed(invoice) => money(&invoice.id, invoice.amount_due, &invoice.currency),
        Event::CheckoutCompleted(session) => money(&session.id, session.amount_total, &session.currency),
    }
}

fn money(id: &str, amount: i64, currency: &str) -> Result<(), ValidationError> {
    if amount < 0 {
        return Err(ValidationError::NegativeAmount { id: id.to_owned(), amount });
    }
    if currency.len() != 3 || !currency.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return Err(ValidationError::NoCurrency { found: currency.to_owned() });
    }
    Ok(())
}

#[traced_node(webhook::process)]
async fn process(service: &Service, event: &Event) -> Result<Receipt, SendError> {
    let Some(notice) = Notice::of(event) else { return Ok(Receipt { shown_under: None }) };
    // What has not answered in time is dropped where it stands: its nodes end as cancelled.
    match timeout(service.patience, send(service.board, &notice.topic, &notice.text)).await {
        Ok(sent) => sent.map(|()| Receipt { shown_under: Some(notice.topic) }),
        Err(_elapsed) => Err(SendError::TooSlow { patience: service.patience }),
    }
}

/// Sends a notice to the second server, again if it is too busy.
#[traced_node(webhook::send, record(topic))]
async fn send(board: SocketAddr, topic: &str, text: &str) -> Result<(), SendError> {
    const ATTEMPTS: u32 = 3;
    for number in 1..ATTEMPTS {
        match attempt(number, board, topic, text).await {
            Err(SendError::Refused { status }) if status == StatusCode::SERVICE_UNAVAILABLE => {
                sleep(Duration::from_millis(5) * number).await;
            }
            other => return other,
        }
    }
    attempt(ATTEMPTS, board, topic, text).await
}

// In no flow: it may be called from anywhere.
#[traced_node(record(number))]
async fn attempt(number: u32, board: SocketAddr, topic: &str, text: &str) -> Result<(), SendError> {
    let notice = json!({"topic": topic, "text": text, "attempt": number});
    let (status, ..) = post_json(board, "/notices", &[], notice.to_string().into()).await?;
    if status.is_success() { Ok(()) } else { Err(SendError::Refused { status }) }
}

/// One request as it came. What is not skipped is what the trace keeps of it.
#[derive(Serialize)]
struct Delivery {
    sender: Sender,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    bytes: usize,
    #[serde(skip)]
    signature: Option<String>,
    #[serde(skip)]
    body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sender {
    GitHub,
    Stripe,
}

impl Sender {
    const fn signature_header(self) -> &'static str {
        match self {
            Self::GitHub => "x-hub-signature-256",
            Self::Stripe => "stripe-signature",
        }
    }

    /// The header with which this sender signs a body.
    pub(crate) fn sign(self, secret: &str, body: &[u8]) -> (&'static str, String) {
        let time = if self == Self::Stripe { "1741771202" } else { "" };
        let bytes = mac(secret, time, body).finalize().into_bytes();
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        let value = if self == Self::Stripe { format!("t={time},v1={hex}") } else { format!("sha256={hex}") };
        (self.signature_header(), value)
    }
}

/// GitHub signs the body, Stripe the time, a dot and the body.
fn mac(secret: &str, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    if time.is_empty() { mac.chain_update(body) } else { mac.chain_update(time).chain_update(".").chain_update(body) }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

enum Event {
    Ping,
    Push(Push),
    PullRequest(PullRequestEvent),
    Issues(IssuesEvent),
    ChargeSucceeded(Charge),
    InvoicePaymentFailed(Invoice),
    CheckoutCompleted(Session),
}

#[derive(Deserialize)]
struct Ping {}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: String,
    commits: Vec<Commit>,
    pusher: Pusher,
    repository: Repository,
}

#[derive(Deserialize)]
struct Commit {
    message: String,
}

#[derive(Deserialize)]
struct Pusher {
    name: String,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct PullRequestEvent {
    action: String,
    pull_request: Discussion,
    repository: Repository,
}

#[derive(Deserialize)]
struct IssuesEvent {
    action: String,
    issue: Discussion,
    repository: Repository,
}

#[derive(Deserialize)]
struct Discussion {
    number: u64,
    title: String,
}

#[derive(Deserialize)]
struct StripeEvent {
    #[serde(rename = "type")]
    event: String,
    data: StripeData,
}

#[derive(Deserialize)]
struct StripeData {
    object: serde_json::Value,
}

#[derive(Deserialize)]
struct Charge {
    id: String,
    amount: i64,
    currency: String,
}

#[derive(Deserialize)]
struct Invoice {
    id: String,
    amount_due: i64,
    currency: String,
    attempt_count: u32,
}

#[derive(Deserialize)]
struct Session {
    id: String,
    amount_total: i64,
    currency: String,
}

/// What the second server is sent.
struct Notice {
    topic: String,
    text: String,
}

impl Notice {
    fn of(event: &Event) -> Option<Self> {
        let code = |repository: &Repository, text: String| Self { topic: repository.full_name.clone(), text };
        let sales = |amount: i64, currency: &str, what: &str| Self {
            topic: "sales".to_owned(),
            text: format!("{}.{:02} {} {what}", amount / 100, amount % 100, currency.to_uppercase()),
        };
        Some(match event {
            Event::Ping => return None,
            Event::Push(push) => {
                // A mistake that is easy to make: to delete a branch is a push, too, and one without commits.
                let newest = push.commits.last().expect("a push has commits");
                let title = newest.message.lines().next().unwrap_or_default();
                code(&push.repository, format!("{}: {title}", push.pusher.name))
            }
            Event::PullRequest(PullRequestEvent { action, pull_request: about, repository })
            | Event::Issues(IssuesEvent { action, issue: about, repository }) => {
                code(repository, format!("{action} #{}: {}", about.number, about.title))
            }
            Event::ChargeSucceeded(charge) => sales(charge.amount, &charge.currency, "paid"),
            Event::InvoicePaymentFailed(invoice) => {
                let what = format!("not paid, attempt {}", invoice.attempt_count);
                sales(invoice.amount_due, &invoice.currency, &what)
            }
            Event::CheckoutCompleted(session) => sales(session.amount_total, &session.currency, "sold"),
        })
    }
}

/// What the sender of a delivery is told.
#[derive(Serialize)]
struct Receipt {
    shown_under: Option<String>,
}

#[derive(Debug, Error)]
enum WebhookError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Validation(#[from] ValidationError),
    #[error(transparent)]
    Send(#[from] SendError),
}

impl WebhookError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::Parse(_) => StatusCode::BAD_REQUEST,
            Self::Validation(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Send(SendError::TooSlow { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Send(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

#[derive(Debug, Error)]
enum SignatureError {
    #[error("there is no header `{header}`")]
    Missing { header: &'static str },
    #[error("the header `{header}` holds no signature")]
    Malformed { header: &'static str },
    #[error("the body was not signed with our secret")]
    Mismatch,
}

#[derive(Debug, Error)]
enum ParseError {
    #[error("there is no header `x-github-event`")]
    NoEvent,
    #[error("nobody handles `{event}`")]
    Unknown { event: String },
    #[error("bad `{event}`")]
    Body { event: String, source: serde_json::Error },
}

#[derive(Debug, Error)]
enum ValidationError {
    #[error("expected a ref, found `{found}`")]
    NoRef { found: String },
    #[error("{id}: negative amount {amount}")]
    NegativeAmount { id: String, amount: i64 },
    #[error("expected three letters for a currency, found `{found}`")]
    NoCurrency { found: String },
}

#[derive(Debug, Error)]
enum SendError {
    #[error("cannot reach the board")]
    Unreachable(#[from] io::Error),
    #[error("the board answered {status}")]
    Refused { status: StatusCode },
    #[error("the board did not answer within {patience:?}")]
    TooSlow { patience: Duration },
}

/// Posts JSON; gives the status, the headers and the body of the answer.
pub(crate) async fn post_json(
    to: SocketAddr,
    path: &str,
    headers: &[(&str, String)],
    body: Bytes,
) -> io::Result<(StatusCode, HeaderMap, Bytes)> {
    let stream = TokioIo::new(TcpStream::connect(to).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let mut request = Request::post(path).header(header::HOST, to.to_string());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
    let answer = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.map_err(io::Error::other)?;
    Ok((parts.status, parts.headers, body))
}

/// Serves on a free port of this machine, until the program ends.
pub(crate) async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let board = serve(Router::new().route("/notices", post(async || StatusCode::ACCEPTED))).await?;
    let (secret, patience) = ("it's a secret".to_owned(), Duration::from_secs(1));
    let body = Bytes::from_static(include_bytes!("payloads/github_push.json"));
    let headers = [Sender::GitHub.sign(&secret, &body), ("x-github-event", "push".to_owned())];
    let service = serve(router(Service { secret, board, patience })).await?;

    let (status, headers, answer) = post_json(service, "/webhooks/github", &headers, body).await?;
    println!("{status}: {}\n", String::from_utf8_lossy(&answer));
    let trace_id = headers[TRACE_HEADER].to_str()?.parse()?;
    for tree in Tree::of(&tracer::replay(trace_id), &tracer::active_traces()) {
        print!("{tree:#}");
    }
    Ok(())
}

// 200 OK: {"shown_under":"harbour-labs/tide-tables"}
//
// tr_… POST /webhooks · ok · _
// payload {"bytes":10763,"event":"push","sender":"github"}
// ✓ _  handle
// ✓ _  ├─ verify
// ✓ _  ├─ parse
// ✓ _  ├─ validate
// ✓ _  └─ process
// ✓ _     └─ send(topic="harbour-labs/tide-tables")
// ✓ _        └─ attempt(number=1)
