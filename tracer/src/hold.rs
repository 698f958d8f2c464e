//! The locks of this crate that are nobody's own: for a process that is about to be forked.

use std::fmt;
use std::sync::{MutexGuard, RwLockWriteGuard};

use crate::context::{RegistriesHeld, hold_registries};
use crate::lines::scope::{FreeCells, hold_cells};
use crate::site::{Site, hold_sites};
use crate::tracer::{Tracer, hold_global};

/// While it lives, no other thread has any lock that this crate has for all threads: so none is locked for ever in the child
/// of a fork, which lacks those threads. What a thread has of its own, its child has not.
pub struct LocksHeld {
    // Given back in this order, taken in the other: whoever has one of them may wait for those above it.
    _global: RwLockWriteGuard<'static, Option<Tracer>>,
    _cells: FreeCells,
    _sites: MutexGuard<'static, Vec<&'static Site>>,
    _registries: RegistriesHeld,
}

impl fmt::Debug for LocksHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocksHeld").finish_non_exhaustive()
    }
}

/// Waits until no other thread has any of them, and keeps them. For recorders that look after forks, in what the system
/// calls before one (`pthread_atfork`).
pub fn hold_locks() -> LocksHeld {
    let registries = hold_registries();
    let sites = hold_sites();
    let cells = hold_cells();
    LocksHeld { _global: hold_global(), _cells: cells, _sites: sites, _registries: registries }
}
