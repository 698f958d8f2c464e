//! The manual API: a frozen position in a line of calls, and the steps that lead from one to the next.

mod open;
mod registry;
mod token;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::guard::{GuardError, GuardErrorKind};
use crate::id::{EnvId, TraceId};
use crate::lines::scope::{self, Position, Scope};
use crate::lines::{Ancestry, Departure, Opened, Pinned, Said, Source, ThreadLane, Trace};
use crate::node::check_name;
use crate::ordinal;
use crate::record::Cause;
use crate::recorder::block::Entered;
use crate::recorder::{Detail, Entry, EnvEvent, Preview};
use crate::status::Status;
use crate::strict::StrictEnv;
use crate::tracer::Tracer;
use crate::values::{Captured, Limits};
pub(crate) use registry::{OwnRegistry, RegistriesHeld, Registry, hold as hold_registries};
use registry::{Taken, Use};
pub use token::ContextToken;

/// The position (trace, env, step) in a line of calls.
///
/// Taking a [`step`](Self::step) consumes it, and it cannot be cloned: using it twice does not compile. To hand a
/// position on, [`fork`](Self::fork) it; to send it over a wire, take its [`token`](Self::token).
///
/// A traced function that has a parameter of this type (by value or reference) runs on its line of calls. Traced
/// functions and manual steps never share an env: whichever comes second gets a fork of it.
pub struct Context {
    trace: Arc<Trace>,
    env: Opened,
    step: u64,
    /// The line of the traced functions that this was given to.
    line: Mutex<Option<Pinned>>,
    /// It does not keep its trace from being over: its env has ended.
    loose: bool,
}

// As a tracer is: it is taken on by a step or not, and stays what it is if that panics.
impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("trace_id", &self.trace_id())
            .field("env_id", &self.env_id())
            .field("step_id", &self.step)
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

/// Bounds for payloads and meta: what one step of the manual API may carry.
const MANUAL_LIMITS: Limits = Limits { bytes: 256 * 1024, depth: 64 };

/// What is longer of a source is cut: every record of the manual API has it.
const SOURCE_LEN_MAX: usize = 256;

impl Context {
    /// Starts a trace: its first env, with its payload.
    pub(crate) fn create(tracer: &Tracer, payload: impl Serialize, source: &str) -> Self {
        crate::lines::panics::watch();
        let payload = Captured::one(&payload, MANUAL_LIMITS);
        let trace = Arc::new(Trace::new(tracer.clone(), Source::Text(bounded(source).into())));
        Self::open(trace.clone(), Departure::root(trace), None, payload)
    }

    /// Records an env and gives its beginning.
    fn open(trace: Arc<Trace>, from: Departure, above: Option<Arc<Ancestry>>, payload: Option<Captured>) -> Self {
        let Departure { cause, env: parent, seq: after, flows, fork, .. } = from;
        let (id, ordinal) = trace.next_env();
        trace.hold();
        // A fork of a trace that was cleared is as unknown as the context that it leaves.
        let known = cause == Cause::Root || trace.tracer.registry().knows(trace.id);
        let record = |out: &mut ThreadLane| {
            let (source, has_payload) = (trace.source_text(), payload.is_some());
            let detail = Detail { trace: Some((trace.id, source)), meta: payload, ..Detail::default() };
            let mut event = EnvEvent {
                ticks: 0,
                seq: after,
                env: id,
                trace: trace.id,
                cause,
                parent,
                site: 0,
                fork: fork.map_or(0, |fork| fork.number),
                is_main: cause == Cause::Root,
                lacks_payload: false,
            };
            out.env_with(&mut event, Some(Box::new(detail)));
            (event.seq, Said::of(event, has_payload, out.piece()))
        };
        let recorded = if known { emit(&trace, record) } else { None };
        let (seq, said) = recorded.unwrap_or((after, Said::default()));
        let ancestry = if cause == Cause::Fork { Some(Arc::new(Ancestry { env: id, parent: above })) } else { above };
        let env = Opened { id, ordinal, ordinals_from: ordinal::from(), said, seq, fork, flows, ancestry };
        if known {
            trace.tracer.registry().open(&trace, env.clone());
        }
        Self { trace, env, step: 0, line: Mutex::default(), loose: false }
    }

    /// Goes on from a token of the [global tracer](Tracer::global), or of the one that
    /// [`test::record`](crate::test::record) gives.
    ///
    /// # Errors
    ///
    /// `INVALID_CONTEXT`, `UNKNOWN_TRACE`, `ENV_MISMATCH` or `STEP_OUT_OF_ORDER`; nothing was recorded.
    pub fn resume(token: ContextToken) -> Result<Self, GuardError> {
        crate::tracer::current().resume(token)
    }

    /// Takes one step: `status` of `node`, with `meta` (`()` for none).
    ///
    /// # Errors
    ///
    /// In this order: `INVALID_NODE_NAME`, `UNKNOWN_TRACE`, `ENV_MISMATCH`, `STEP_OUT_OF_ORDER`,
    /// `TRACE_TERMINATED`, `INVALID_TRANSITION`. Nothing was recorded, and the error gives the context back.
    ///
    /// # Examples
    ///
    /// ```
    /// use tracer::Status;
    ///
    /// let ctx = tracer::create_env(serde_json::json!({"order": 17}), "webhook");
    /// let ctx = ctx.step("validate", Status::Enter, ())?;
    /// let ctx = ctx.step("validate", Status::Exit, "fine")?;
    /// let refused = ctx.step("validate", Status::Exit, ()).unwrap_err();
    /// assert_eq!(refused.code(), "INVALID_TRANSITION");
    /// assert_eq!(refused.into_context().unwrap().step_id(), 2);
    /// # Ok::<(), tracer::GuardError>(())
    /// ```
    pub fn step(mut self, node: &str, status: Status, meta: impl Serialize) -> Result<Self, GuardError> {
        if let Err(source) = check_name(node) {
            let name = node.chars().take(80).collect::<String>().into();
            return Err(GuardError::new(GuardErrorKind::InvalidNodeName { name, source }, Some(self)));
        }
        // Before any lock: the value may call traced functions, or this very function.
        let meta = Captured::one(&meta, MANUAL_LIMITS);
        if let Err(kind) = self.known() {
            return Err(GuardError::new(kind, Some(self)));
        }
        if self.trace.tracer.registry().use_of(self.trace_id(), self.env_id()) == Some(Use::Automatic) {
            // The step would be the first of its env. A refusal must not leave that env behind.
            if let Err(refusal) = StrictEnv::default().check(0, node, status) {
                return Err(GuardError::new(refusal, Some(self)));
            }
            self = self.beside();
        }
        let taken = self.trace.tracer.registry().step(self.trace_id(), self.env_id(), self.step, node, status);
        let Taken { step, entered, after } = match taken {
            Ok(taken) => taken,
            Err(kind) => return Err(GuardError::new(kind, Some(self))),
        };
        self.trace.set_stepped();
        let preview = meta.as_ref().map(|meta| Preview::of(meta.as_bytes(), meta.is_truncated()));
        let trace = Some((self.trace.id, self.trace.source_text()));
        let detail = Detail { node: Some(node.into()), trace, meta, ..Detail::default() };
        let entry = Entry::manual(self.env.id, step, entered, status);
        let said = &mut self.env.said;
        let step_in = |out: &mut ThreadLane| {
            let written = out.step(entry, after, Some(Box::new(detail)));
            said.again(&self.trace, out);
            (written.seq, written.ticks)
        };
        let (seq, ticks) = emit(&self.trace, step_in).unwrap_or((after, 0));
        let open = (status == Status::Enter).then(|| Entered { node: node.into(), step, ticks, preview });
        self.trace.tracer.registry().recorded(&self.trace, self.env.id, seq, open, entered);
        self.step = step;
        self.env.seq = seq;
        // Traced functions that are given the new position fork from there.
        self.line.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if status == Status::Error {
            self.let_go();
        }
        Ok(self)
    }

    /// Guards 2 and 3.
    fn known(&self) -> Result<(), GuardErrorKind> {
        let (trace, tracer) = (self.trace_id(), &self.trace.tracer);
        if !tracer.holds(trace) {
            return Err(GuardErrorKind::UnknownTrace { trace });
        }
        tracer.registry().check_env(trace, self.env_id())
    }

    /// A fork for manual steps beside an env that traced functions use.
    fn beside(self) -> Self {
        let at = self.leave();
        Self::open(self.trace.clone(), at, self.env.ancestry.clone(), None)
    }

    /// Leaves for a fork: from where the traced functions on this line stand, else from this position.
    fn leave(&self) -> Departure {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Pinned::at);
        let forked = line.and_then(|base| {
            scope::with(|scope| {
                let at = self.nearest(scope).unwrap_or(base);
                scope.fork(at)
            })
            .flatten()
        });
        forked.unwrap_or_else(|| Departure {
            env: Some((self.env.id, self.step)),
            seq: self.env.seq,
            fork: Some(self.trace.tracer.registry().fork(self.trace_id(), &self.env)),
            flows: self.env.flows.clone(),
            ancestry: self.env.ancestry.clone(),
            cause: Cause::Fork,
            ..Departure::root(self.trace.clone())
        })
    }

    /// The position of the calling thread, if it lies on this line of calls or below.
    fn nearest(&self, scope: &mut Scope) -> Option<Position> {
        let here = scope.here()?;
        if here.cell.trace()?.id != self.trace.id {
            return None;
        }
        let Some(ancestry) = &self.env.ancestry else { return Some(here) };
        let below = scope.with_line(here.cell, |line, _, _| line.is_below(ancestry.env));
        below.unwrap_or(false).then_some(here)
    }

    /// Where a traced function that is given this context is called.
    pub(crate) fn position(&self, scope: &mut Scope) -> Option<Position> {
        self.nearest(scope).or_else(|| self.base(scope))
    }

    /// The line of the traced functions that this is given to, begun if there is none.
    fn base(&self, scope: &mut Scope) -> Option<Position> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.is_none() {
            let fresh = self.trace.tracer.registry().use_automatically(self.trace_id(), self.env_id());
            let cell = if fresh {
                // The env was recorded without a step. From now on the trace can be over.
                self.trace.set_stepped();
                scope.begin_opened(&self.trace, self.env.clone())
            } else {
                scope.begin(Departure {
                    env: Some((self.env.id, self.step)),
                    seq: self.env.seq,
                    fork: Some(self.trace.tracer.registry().fork(self.trace_id(), &self.env)),
                    flows: self.env.flows.clone(),
                    ancestry: self.env.ancestry.clone(),
                    cause: Cause::Fork,
                    ..Departure::root(self.trace.clone())
                })?
            };
            *line = Some(Pinned::of_held(scope, cell));
        }
        line.as_ref().map(Pinned::at)
    }

    /// A position in an env of its own, which leaves this one here.
    #[must_use]
    pub fn fork(&self) -> Self {
        let at = self.leave();
        Self::open(self.trace.clone(), at, self.env.ancestry.clone(), None)
    }

    /// The position as a text, to go on from elsewhere: [`Context::resume`].
    ///
    /// It keeps nothing: once the last context of a trace is gone, the trace can be evicted, and is forgotten when
    /// some 16,000 newer ones were started by hand.
    pub fn token(&self) -> ContextToken {
        ContextToken::new(self.trace_id(), self.env_id(), self.step)
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace.id
    }

    /// The env.
    pub fn env_id(&self) -> EnvId {
        self.env.id
    }

    /// The last step taken; 0 before the first.
    pub fn step_id(&self) -> u64 {
        self.step
    }

    /// What started the trace.
    pub fn source(&self) -> &str {
        self.trace.source()
    }

    pub(crate) fn resume_in(tracer: &Tracer, token: &ContextToken) -> Result<Self, GuardError> {
        let refuse = |kind| GuardError::new(kind, None);
        let (trace_id, env_id, step) = token.parse().map_err(refuse)?;
        if !tracer.holds(trace_id) {
            return Err(refuse(GuardErrorKind::UnknownTrace { trace: trace_id }));
        }
        let (trace, env) = tracer.registry().resume(tracer, trace_id, env_id, step).map_err(refuse)?;
        emit(&trace, |out| out.resumed(trace_id, env_id, env.seq));
        trace.hold();
        Ok(Self { trace, env, step, line: Mutex::default(), loose: false })
    }

    /// Stops keeping the trace.
    fn let_go(&mut self) {
        if !std::mem::replace(&mut self.loose, true) {
            let (trace, seq) = (self.trace.clone(), self.env.seq);
            trace.tracer.registry().leave(&trace, self.env.id);
            scope::with_at_last(|scope| scope.release(trace, seq));
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.line.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        self.let_go();
    }
}

fn bounded(source: &str) -> &str {
    let fits = source.len().min(SOURCE_LEN_MAX);
    &source[..(0..=fits).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0)]
}

fn emit<R>(trace: &Trace, work: impl FnOnce(&mut ThreadLane) -> R) -> Option<R> {
    scope::with(|scope| scope.output(&trace.tracer, work))
}
