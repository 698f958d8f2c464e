//! What a tracer knows of the envs of the manual API: the state that guards check a step against.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::open::OpenNodes;
use crate::guard::GuardErrorKind;
use crate::id::{EnvId, TraceId};
use crate::lines::{Fork, Opened, Trace};
use crate::recorder::block::Entered;
use crate::status::Status;
use crate::strict::StrictEnv;
use crate::tracer::Tracer;

/// The registry of a tracer. It outlives it, for the next one: so whoever forks can hold all that there are.
#[derive(Debug)]
pub(crate) struct OwnRegistry(&'static Mutex<Registry>);

static ALL: Mutex<All> = Mutex::new(All { made: Vec::new(), free: Vec::new() });

struct All {
    made: Vec<&'static Mutex<Registry>>,
    free: Vec<&'static Mutex<Registry>>,
}

fn all() -> MutexGuard<'static, All> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OwnRegistry {
    pub(crate) fn new() -> Self {
        let mut all = all();
        Self(all.free.pop().unwrap_or_else(|| {
            let made = Box::leak(Box::default());
            all.made.push(made);
            made
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'static, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnRegistry {
    fn drop(&mut self) {
        *self.lock() = Registry::default();
        all().free.push(self.0);
    }
}

/// Nobody is at any of them while it lives.
pub(crate) struct RegistriesHeld {
    _registries: Vec<MutexGuard<'static, Registry>>,
    _all: MutexGuard<'static, All>,
}

pub(crate) fn hold() -> RegistriesHeld {
    let all = all();
    let registries = all.made.iter().map(|registry| registry.lock().unwrap_or_else(PoisonError::into_inner)).collect();
    RegistriesHeld { _registries: registries, _all: all }
}

/// Envs by trace. One lock around it; nothing of the user's runs inside but a recorder that is asked what it holds.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    traces: HashMap<TraceId, Known>,
    /// How many traces to reach before the next look for those that can go.
    sweep_at: usize,
    /// Traces so far.
    count: u64,
}

#[derive(Debug)]
struct Known {
    /// Not the trace itself: it knows its tracer, and so would keep that for ever.
    trace: Weak<Trace>,
    source: Arc<str>,
    env_count: Arc<AtomicU32>,
    envs: HashMap<EnvId, Env>,
    /// Which trace it is, from 1.
    number: u64,
}

#[derive(Debug)]
struct Env {
    opened: Opened,
    state: StrictEnv,
    used: Use,
    forks: u64,
    open: OpenNodes,
}

/// A step that was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) step: u64,
    /// The step that entered the node: itself, if it is an enter.
    pub(super) entered: u64,
    /// The number of the record before it.
    pub(super) after: u64,
}

/// Who takes the steps of an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Nobody,
    Manual,
    Automatic,
}

/// Fewer traces than this are not worth a sweep.
const SWEEP_MIN: usize = 1024;

/// More traces than this are only kept while a context of them is left. They are not in the recorder's bound.
const IDLE_MAX: usize = 16 * 1024;

impl Known {
    fn is_held(&self) -> bool {
        self.trace.upgrade().is_some_and(|trace| trace.is_held())
    }
}

impl Registry {
    pub(super) fn open(&mut self, trace: &Arc<Trace>, opened: Opened) {
        self.sweep(&trace.tracer);
        let known = self.traces.entry(trace.id).or_insert_with(|| {
            self.count += 1;
            Known {
                trace: Arc::downgrade(trace),
                source: trace.source_text(),
                env_count: trace.envs(),
                envs: HashMap::new(),
                number: self.count,
            }
        });
        let mut open = OpenNodes::default();
        open.come(&opened, trace);
        let env = Env { state: StrictEnv::default(), used: Use::Nobody, forks: 0, open, opened };
        known.envs.insert(env.opened.id, env);
    }

    pub(super) fn knows(&self, trace: TraceId) -> bool {
        self.traces.contains_key(&trace)
    }

    /// Forgets traces that the recorder has evicted, unless a context is left. Each sweep is paid for by as many
    /// new traces as it leaves behind.
    fn sweep(&mut self, tracer: &Tracer) {
        if self.traces.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.traces.retain(|id, known| known.is_held() || tracer.holds(*id));
        // A recorder that cannot read back says that it has them all.
        let excess = self.traces.len().saturating_sub(IDLE_MAX);
        if excess > 0 {
            let idle = self.traces.values().filter(|known| !known.is_held());
            let mut idle: Vec<u64> = idle.map(|known| known.number).collect();
            idle.sort_unstable();
            let kept = idle.get(excess).copied().unwrap_or(u64::MAX);
            self.traces.retain(|_, known| known.is_held() || known.number >= kept);
        }
        self.sweep_at = self.traces.len() * 2;
    }

    pub(super) fn check_env(&self, trace: TraceId, env: EnvId) -> Result<(), GuardErrorKind> {
        let known = self.traces.get(&trace).ok_or(GuardErrorKind::UnknownTrace { trace })?;
        if known.envs.contains_key(&env) {
            return Ok(());
        }
        Err(GuardErrorKind::EnvMismatch { trace, env, envs: known.envs.len() })
    }

    fn env(&mut self, trace: TraceId, env: EnvId) -> Option<&mut Env> {
        self.traces.get_mut(&trace)?.envs.get_mut(&env)
    }

    pub(super) fn use_of(&mut self, trace: TraceId, env: EnvId) -> Option<Use> {
        self.env(trace, env).map(|env| env.used)
    }

    /// Gives the env to traced functions; `false` if it has a user already.
    pub(super) fn use_automatically(&mut self, trace: TraceId, env: EnvId) -> bool {
        let Some(env) = self.env(trace, env).filter(|env| env.used == Use::Nobody) else { return false };
        env.used = Use::Automatic;
        true
    }

    /// Takes a step.
    pub(super) fn step(
        &mut self,
        trace: TraceId,
        env_id: EnvId,
        position: u64,
        node: &str,
        status: Status,
    ) -> Result<Taken, GuardErrorKind> {
        self.check_env(trace, env_id)?;
        let Some(env) = self.env(trace, env_id) else { return Err(GuardErrorKind::UnknownTrace { trace }) };
        let entered = env.state.entered_at(node);
        let step = env.state.step(position, node, status)?;
        env.used = Use::Manual;
        Ok(Taken { step, entered: entered.unwrap_or(step), after: env.opened.seq })
    }

    /// A step was recorded: one that enters a node, or one that ends what the step `ended` has entered.
    pub(super) fn recorded(&mut self, trace: &Trace, env: EnvId, seq: u64, entered: Option<Entered>, ended: u64) {
        let Some(Env { opened, state, open, .. }) = self.env(trace.id, env) else { return };
        opened.seq = opened.seq.max(seq);
        match entered {
            _ if state.is_terminal() => open.end_all(&trace.tracer),
            // By a step that another thread took meanwhile, it may have ended.
            Some(node) if state.entered_at(&node.node) == Some(node.step) => open.enter(node, opened, trace),
            Some(_) => {}
            None => open.end(ended, opened, trace),
        }
    }

    /// A context of the env is gone.
    pub(super) fn leave(&mut self, trace: &Trace, env: EnvId) {
        if let Some(env) = self.env(trace.id, env) {
            env.open.go(&trace.tracer);
        }
    }

    /// The next fork of an env.
    pub(super) fn fork(&mut self, trace: TraceId, opened: &Opened) -> Fork {
        let number = self.env(trace, opened.id).map_or(0, |env| {
            env.forks += 1;
            env.forks - 1
        });
        opened.fork_again(number)
    }

    pub(super) fn resume(
        &mut self,
        tracer: &Tracer,
        trace: TraceId,
        env_id: EnvId,
        step: u64,
    ) -> Result<(Arc<Trace>, Opened), GuardErrorKind> {
        self.check_env(trace, env_id)?;
        let Some(known) = self.traces.get_mut(&trace) else { return Err(GuardErrorKind::UnknownTrace { trace }) };
        let Some(env) = known.envs.get_mut(&env_id) else { return Err(GuardErrorKind::UnknownTrace { trace }) };
        env.state.check_position(step)?;
        let resumed = known.trace.upgrade().unwrap_or_else(|| {
            let again = Trace::again(trace, tracer.clone(), known.source.clone(), known.env_count.clone());
            let again = Arc::new(again);
            known.trace = Arc::downgrade(&again);
            again
        });
        env.open.come(&env.opened, &resumed);
        Ok((resumed, env.opened.clone()))
    }

    pub(crate) fn clear(&mut self, tracer: &Tracer) {
        for mut known in self.traces.drain().map(|(_, known)| known) {
            known.envs.values_mut().for_each(|env| env.open.end_all(tracer));
        }
    }
}
