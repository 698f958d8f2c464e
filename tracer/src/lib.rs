//! Checked traces for Rust functions: what ran, with which values, and where it failed.
//!
//! Put [`#[traced_node]`](macro@traced_node) on functions. Nothing else is needed: the next run leaves a trace.
//!
//! ```
//! use tracer::traced_node;
//!
//! #[traced_node(record)]
//! fn parse(amount: &str) -> Result<u32, std::num::ParseIntError> {
//!     amount.parse()
//! }
//!
//! #[traced_node]
//! fn charge(amounts: &[&str]) -> u32 {
//!     amounts.iter().filter_map(|amount| parse(amount).ok()).sum()
//! }
//!
//! let recording = tracer::test::record(|| charge(&["17", "x", "4"]));
//! assert_eq!(
//!     recording.to_string(),
//!     r#"charge
//! ├─ parse(amount="17")
//! ├─ parse(amount="x") ✗ ParseIntError: invalid digit found in string
//! └─ parse(amount="4")
//! "#
//! );
//! ```
//!
//! # Words
//!
//! A *trace* is one causal story. It consists of *envs*: lines of calls, each with its own steps 1, 2, 3 … A *node* is
//! a named place in code, a *step* one `enter`, `exit` or `error` of it. A *frame* (to readers: a span) is one run of a
//! traced function, from its enter to its end. A [`Context`] is a frozen position (trace, env, step).
//!
//! # Two faces, one set of rules
//!
//! In every env, steps are numbered without a gap, `enter` needs an idle node, `exit` and `error` an entered one, and
//! an error is the last step. [`StrictEnv`] is these rules as code.
//!
//! - The **manual API** ([`create_env`], [`Context::step`]) *refuses* what breaks a rule: with a code, what was
//!   expected and what was found, nothing recorded, and the context back in your hands.
//! - The **automatic API** (`#[traced_node]`) never refuses. Where ordinary code recurses, runs futures side by side
//!   or handles an error, it opens another env and says why ([`Cause`]).
//!
//! # Where things are
//!
//! | for | see |
//! |---|---|
//! | annotating, declaring | [`traced_node`](macro@traced_node), [`flow!`] |
//! | other tasks and threads | [`branch`], [`carry`], [`carry_fn`], [`join!`] |
//! | reading back | [`replay`], [`all_traces`], [`stats`], [`tree`] |
//! | tests | [`test::record`], [`assert_trace!`] |
//! | where records go | [`Recorder`]: [`Memory`] (the default), [`JsonLines`] |
//! | work that outlives its process | [`execution`] |
//! | on and off | [`set_enabled`]; the feature `off` |
//!
//! # Features
//!
//! | feature | default | what it does |
//! |---|---|---|
//! | `off` | no | For applications only: every annotated function is the function itself, as if the attribute were not there. One with `checkpoint` is a mistake then. |
//!
//! # What it never does
//!
//! It changes nothing that the program computes, returns or prints, nor how it is scheduled. Trouble with recording is
//! counted in [`Stats::dropped`] and never reaches the traced code.

mod clock;
mod context;
pub mod execution;
mod flow;
mod guard;
mod hold;
mod id;
mod lines;
mod node;
mod ordinal;
mod outcome;
mod random;
mod record;
pub mod recorder;
mod site;
mod stats;
mod status;
mod strict;
mod switch;
mod sync;
pub mod test;
mod text;
mod tracer;
pub mod tree;
mod values;

#[doc(hidden)]
pub mod __private;

pub use clock::{Clock, ManualClock, SystemClock};
pub use context::{Context, ContextToken};
pub use guard::{GuardError, GuardErrorKind};
pub use id::{EnvId, FrameId, ParseFrameIdError, ParseIdError, TraceId};
pub use lines::{Branch, branch, carry, carry_fn, current_trace_id};
pub use node::{NAME_LEN_MAX, NameError, RESERVED, check_name};
pub use random::Random;
pub use record::{Cause, EnvRecord, ErrorKind, ErrorRecord, Note, NoteRecord, Record, SCHEMA, StepRecord};
pub use recorder::{Detail, Entry, JsonLines, Lane, Memory, Recorder, Times};
pub use stats::{Stats, TraceState, TraceStats};
pub use status::Status;
pub use strict::{Refusal, StrictEnv};
pub use switch::set_enabled;
pub use tracer::{
    Tracer, TracerBuilder, Violation, active_traces, all_traces, clear_traces, create_env, replay, stats,
};
pub use values::{RedactionKeyInUse, set_redaction_key};

/// Declares a flow: its nodes, and which may follow which.
///
/// ```
/// use tracer::{flow, traced_node};
///
/// flow! {
///     /// What a webhook goes through.
///     pub webhook {
///         parse -> validate -> send;
///         validate !> reject;      // only after validate failed
///         send ~> send;            // a loop that is meant
///     }
/// }
///
/// #[traced_node(webhook::parse)]
/// fn parse(text: &str) -> Option<u32> { text.parse().ok() }
/// #[traced_node(webhook::validate)]
/// fn validate(number: u32) -> Result<u32, String> { Ok(number) }
/// #[traced_node(webhook::send)]
/// fn send(number: u32) {}
/// #[traced_node(webhook::reject)]
/// fn reject() {}
/// ```
///
/// It makes a module with one unit struct per node, so the compiler finds misspelt nodes, suggests the right one,
/// completes, renames and jumps to the definition. One function per node: a second one is an error at both places; a
/// declared node that no function is, an error at its name. Cycles that are not written with `~>`, edges written twice
/// and nodes that cannot be reached are errors at the word.
///
/// | written | means |
/// |---|---|
/// | `a -> b` | `b` may be entered right after the enter or the exit of `a` |
/// | `a !> b` | `b` may be entered right after the error of `a` |
/// | `a ~> b` | as both, and the loop that it closes is meant |
/// | `entry a;` | `a` may come first, as the first node of the flow may |
/// | `shared a;` | several functions are `a`, each with `#[traced_node(name::a, shared)]` |
/// | `partial name { … }` | nodes without a function are warnings |
/// | `open name { … }` | functions in other crates may be its nodes |
///
/// At run time an edge joins two consecutive steps of an env; steps of nodes outside of the flow do not count. A missing
/// edge is a note, counted in [`Stats::violations`], and a panic with [`Violation::Panic`].
pub use tracer_macros::flow;

/// Traces a function: every call records an enter, and an exit or an error.
///
/// ```
/// # use tracer::traced_node;
/// #[traced_node]                             // the node is called as the function is
/// fn parse() {}
///
/// #[traced_node("charge-card", record)]      // another name; arguments are recorded
/// async fn charge(card: u32, amount: u64) -> Result<(), String> { Ok(()) }
/// ```
///
/// It works on free functions, methods, trait methods with a body, and on `impl`, `trait` and `mod` for every function
/// inside; on `async fn`, functions that return futures, `#[async_trait]`; on generics, `impl Trait`, `-> !`, `unsafe`
/// and `extern` functions. Nothing is required of any type. It changes no signature as callers see it, no inference, no
/// `Send`, no lint, no drop order.
///
/// # What counts as a failure
///
/// Any `Err` (as the function's signature shows it: a generic `T` that happens to be a `Result` is a success), a panic,
/// and for a future a drop after its first poll. A future that is never polled is never recorded. The text of an error
/// is what its type offers: `Display` with its sources, else `Debug`.
///
/// What a panic says is kept by a hook that the first trace puts in front of the program's own. A hook set later has to
/// call the one before it, or the texts are missing.
///
/// # Options
///
/// Behind the name, if there is one:
///
/// | option | what it does |
/// |---|---|
/// | `record` · `record(a, b, ret)` | records all arguments · these, and the result. They must be `Serialize`. Nothing is recorded unless asked. |
/// | `skip(a)` | leaves an argument out of `record` |
/// | `redact(a, b.c)` | records that there was a value, not which; a keyed hash shows whether two are equal, see [`set_redaction_key`] |
/// | `err = display` · `debug` · `none` | where the text of an error comes from |
/// | `fail_if = \|result\| …` | what counts as a failure instead of `Err` |
/// | `root` · `fork` | each call starts a trace · runs in an env of its own |
/// | `source = "…"` | what its traces are said to be started by, instead of the node |
/// | `ctx = name` | the parameter that is the [`Context`], where it cannot be told by its type's name |
/// | `off` | as if the attribute were not there |
/// | `skip` | inside a traced `impl`, `trait` or `mod`: leaves this function out; elsewhere a mistake |
/// | `shared` · `extern` | the declared node has several functions, as its flow says · belongs to an `open` flow of another crate |
/// | `entry` | marks the beginning of a rerun: arguments and result must be (de)serialisable |
/// | `effect` | marks what a rerun does not repeat: its result is recorded, and must be (de)serialisable |
/// | `checkpoint` · `checkpoint = at_most_once` | in an [`execution`]: keeps the result, and later attempts get it instead of running the function again; see below |
/// | `crate = path` | where `tracer` is found under another name |
///
/// # What is redacted without being asked
///
/// Fields, variants, keys of maps and newtypes whose name says that they hold a secret, wherever they stand in a value; case
/// does not matter, nor what separates words. Names are looked at up to their 256th byte.
///
/// - anywhere in the name: `access_key`, `account_key`, `api_key`, `authorisation`, `authorization`, `bearer_value`,
///   `card_number`, `connection_string`, `credential`, `credit_card`, `database_url`, `encryption_key`, `master_key`,
///   `passcode`, `passkey`, `passphrase`, `passwd`, `password`, `phpsessid`, `private_key`, `secret`, `set_cookie`,
///   `shared_key`, `signing_key`, `ssh_key`, `subscription_key`, `token_value`
/// - at its end, but for a number or version: `access_tokens`, `bearer`, `cookie`, `cookies`, `refresh_tokens`, `session`,
///   `session_id`, `session_key`, `token`
/// - as one of its words: `auth`, `csrf`, `cvc`, `cvv`, `dsn`, `iban`, `jwt`, `mnemonic`, `otp`, `pass`, `pin`, `pw`, `pwd`,
///   `ssn`, `totp`, `xsrf`
/// - alone: `tokens`
///
/// So is the second of a pair whose first is such a name as a text, and `value`, `content`, `data` or `c` where a `name`, `key`,
/// `header`, `type`, `kind`, `tag` or `t` beside it is one, in whatever order, among the first 64 fields; what comes before its
/// name has no hash, and is only known to be one, but for `value`, if the name is not cut off. Of an enum whose tag is inside of its value (`#[serde(tag = "…")]`) or that has none, no other
/// field is: `redact` it. Fields with the last name of a path of `redact` are, too, if 32 others of the node stand
/// before it.
///
/// What stands *inside* of a text is not looked at: the password in a URL, `--password=…` in an argument, JSON in a string.
/// Nor are texts of errors and panics. `redact` or `skip` what may hold such.
///
/// # Checkpoints
///
/// An async function with `checkpoint` that runs in an attempt at an [`execution`] keeps what it returns:
/// an attempt after it gets that, and goes on behind. Of a `Result` only the success is kept, which has to be (de)serialisable.
/// Outside of executions it is a traced function like any other. The attempt is found by the trace, so it follows
/// [`branch`] and [`carry`], and neither a task that was spawned without them nor a node that is `root`.
///
/// What is kept lies under the node's name and its structural key: which call it is of its caller, and so on up to the
/// beginning of the attempt. So calls may be made in loops, but the way to them has to be the same in every attempt: what
/// decides it should be a checkpoint, too. Errors are not kept: a call that is repeated until it succeeds is the first again in
/// a later attempt, so let the loop be inside of the node. A value of another type, from another version of the program, is as good as none.
///
/// Side by side, they have to be made in lines of their own: by [`join!`], by [`branch`], or in a traced function around each
/// that is called in the same order each time. Futures in `tokio::join!`, `select!`, `FuturesUnordered` and the like that are
/// none of that call in whatever order they are ready, and nobody can tell: in a later attempt one call may get what another
/// has kept, so that what is to be done once for each is done twice for one and never for the other.
///
/// | | the process dies in the midst of it, or the attempt is given back or dropped | after it, before the result was kept |
/// |---|---|---|
/// | `checkpoint` (`at_least_once`) | it runs again | it runs again |
/// | `checkpoint = at_most_once` | the execution fails with `AT_MOST_ONCE` | likewise |
///
/// A function that is to run at most once says so in the store before it begins, and is never run again if it has no result,
/// be it because it returned an error: then no other attempt and no redrive gets beyond it, and what is left to do is a new
/// execution. An error that may be tried again is better returned as a value, which is kept, or tried again inside of it.
/// An attempt that cannot go on ends there: its future is dropped, whatever is around
/// the call.
///
/// # Where the context comes from
///
/// From the caller, wherever it runs on the same thread or in the same task; a call without a traced caller starts a
/// trace. For other tasks and threads see [`branch`] and [`carry`]. A parameter of type [`Context`] (by value or by
/// reference) says on which line of calls it is.
pub use tracer_macros::traced_node;
