//! What may cross threads and panics. A type that loses one of these breaks the programs that rely on it.

use std::panic::{RefUnwindSafe, UnwindSafe};

use tracer::test::Recording;
use tracer::{
    Context, ContextToken, GuardError, JsonLines, ManualClock, Memory, Record, Stats, StrictEnv, Times, Tracer,
};

fn crosses_threads_and_panics<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}

#[test]
fn public_types_cross_threads_and_panics() {
    crosses_threads_and_panics::<Context>();
    crosses_threads_and_panics::<ContextToken>();
    crosses_threads_and_panics::<GuardError>();
    crosses_threads_and_panics::<JsonLines>();
    crosses_threads_and_panics::<ManualClock>();
    crosses_threads_and_panics::<Memory>();
    crosses_threads_and_panics::<Record>();
    crosses_threads_and_panics::<Recording<()>>();
    crosses_threads_and_panics::<Stats>();
    crosses_threads_and_panics::<StrictEnv>();
    crosses_threads_and_panics::<Times>();
    crosses_threads_and_panics::<Tracer>();
}
