//! What threads share is made of these: the standard library's, or those of the model checker that tries every
//! interleaving (`cargo xtask test loom`).

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
