//! What is measured: one case for each way of being traced.

mod floor;
#[cfg(not(feature = "off"))]
mod opentelemetry;
#[cfg(not(feature = "off"))]
mod subscriber;
mod thread_spans;
mod tracer;

/// One way of being traced, and calls that are.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Cases of one group have the same work to do.
    pub group: Group,
    /// The library and how it is set up.
    pub name: &'static str,
    /// Run once.
    pub prepare: fn(),
    /// Makes so many calls; a root counts as one.
    pub calls: fn(u64),
    /// Waits for what other threads still have to do for the calls made.
    pub flush: fn(),
    /// So many calls lead to the steady state.
    pub warm_up: u64,
}

/// What the traced functions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Return at once.
    Sync,
    /// Are futures that are polled twice.
    Async,
    /// Have a struct of five fields recorded.
    Recorded,
    /// Are not recorded.
    Off,
}

impl Group {
    /// Every group, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Sync, Self::Async, Self::Recorded, Self::Off];

    /// Its heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async, one suspension",
            Self::Recorded => "with a recorded struct of 5 fields",
            Self::Off => "off",
        }
    }
}

impl Case {
    const fn new(group: Group, name: &'static str, calls: fn(u64)) -> Self {
        Self { group, name, prepare: || {}, calls, flush: || {}, warm_up: 10_000 }
    }

    const fn prepared(self, prepare: fn()) -> Self {
        Self { prepare, ..self }
    }

    #[cfg(not(feature = "off"))]
    const fn flushed(self, flush: fn()) -> Self {
        Self { flush, ..self }
    }

    #[cfg(not(feature = "off"))]
    const fn warmed_up(self, warm_up: u64) -> Self {
        Self { warm_up, ..self }
    }
}

/// The cases of this build, by group.
pub fn all() -> Vec<Case> {
    let mut cases = floor::cases();
    cases.extend(tracer::cases());
    cases.extend(thread_spans::cases());
    #[cfg(not(feature = "off"))]
    {
        cases.extend(subscriber::cases());
        cases.extend(opentelemetry::cases());
    }
    cases.sort_by_key(|case| Group::ALL.iter().position(|group| *group == case.group));
    cases
}

/// `calls` calls in roots of `nodes` nodes each, the root included.
#[inline]
fn in_roots(calls: u64, nodes: u64, root: impl Fn(u64) -> u64) {
    for _ in 0..calls.div_ceil(nodes) {
        std::hint::black_box(root(nodes));
    }
}

/// What a root does: all but itself.
#[inline]
fn below(nodes: u64, leaf: impl Fn(u64) -> u64) -> u64 {
    (1..nodes).fold(0, |sum, x| sum ^ leaf(x))
}
