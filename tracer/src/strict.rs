//! The strict rules of one env: the same for the manual API, for records read back, and for tests.
//!
//! | node in this env | enter | exit | error |
//! |---|---|---|---|
//! | idle | → entered | refused | refused |
//! | entered | refused | → idle | → failed, the env is terminal |
//! | env terminal | refused | refused | refused |

use std::collections::BTreeMap;

use crate::status::Status;

/// One env as the strict rules see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrictEnv {
    steps: u64,
    /// And at which step.
    entered: BTreeMap<Box<str>, u64>,
    /// The node whose error was the last step.
    failed: Option<Box<str>>,
}

/// A step that the rules do not allow. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The step does not follow the last one.
    #[error("expected to go on after step {expected}, found a context at step {found}: {}", if found < expected { "it was used already" } else { "it is ahead of the trace" })]
    OutOfOrder {
        /// The last step of the env.
        expected: u64,
        /// The step that the context stands at.
        found: u64,
    },
    /// The env ended with an error.
    #[error("expected no step after the error of `{node}` (step {step}), found {status} of `{found}`")]
    Terminated {
        /// The node that failed.
        node: Box<str>,
        /// The number of its error step.
        step: u64,
        /// The node of the refused step.
        found: Box<str>,
        /// Its status.
        status: Status,
    },
    /// The node's state has no such edge.
    #[error("expected {} of `{node}`, which is {}, found {status}", if *entered { "exit or error" } else { "enter" }, if *entered { "entered" } else { "idle" })]
    Transition {
        /// The node.
        node: Box<str>,
        /// Whether it was entered (else idle).
        entered: bool,
        /// The refused status.
        status: Status,
    },
}

impl StrictEnv {
    /// The number of the last step; 0 before the first.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether an error ended the env.
    pub fn is_terminal(&self) -> bool {
        self.failed.is_some()
    }

    /// The nodes that are entered, in alphabetical order.
    pub fn entered(&self) -> impl Iterator<Item = &str> {
        self.entered.keys().map(|node| &**node)
    }

    /// The step that entered the node, unless it is idle.
    pub(crate) fn entered_at(&self, node: &str) -> Option<u64> {
        self.entered.get(node).copied()
    }

    /// Whether `position` is that of the last step.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutOfOrder`].
    pub fn check_position(&self, position: u64) -> Result<(), Refusal> {
        if position == self.steps {
            return Ok(());
        }
        Err(Refusal::OutOfOrder { expected: self.steps, found: position })
    }

    /// Whether the step after `position` may be `status` of `node`; checks only.
    ///
    /// # Errors
    ///
    /// The first rule that is broken: order, terminal, transition.
    pub fn check(&self, position: u64, node: &str, status: Status) -> Result<(), Refusal> {
        self.check_position(position)?;
        if let Some(failed) = &self.failed {
            return Err(Refusal::Terminated { node: failed.clone(), step: self.steps, found: node.into(), status });
        }
        let entered = self.entered.contains_key(node);
        match (entered, status) {
            (false, Status::Enter) | (true, Status::Exit | Status::Error) => Ok(()),
            _ => Err(Refusal::Transition { node: node.into(), entered, status }),
        }
    }

    /// Takes the step after `position` and gives its number.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); nothing was changed.
    pub fn step(&mut self, position: u64, node: &str, status: Status) -> Result<u64, Refusal> {
        self.check(position, node, status)?;
        match status {
            Status::Enter => {
                self.entered.insert(node.into(), self.steps + 1);
            }
            Status::Exit => {
                self.entered.remove(node);
            }
            Status::Error => {
                self.entered.remove(node);
                self.failed = Some(node.into());
            }
        }
        self.steps += 1;
        Ok(self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table() {
        let idle = StrictEnv::default();
        let mut entered = idle.clone();
        entered.step(0, "a", Status::Enter).unwrap();
        let mut terminal = entered.clone();
        terminal.step(1, "a", Status::Error).unwrap();
        let allowed = |env: &StrictEnv, status| env.check(env.steps(), "a", status).is_ok();
        let row = |env| [Status::Enter, Status::Exit, Status::Error].map(|status| allowed(env, status));
        assert_eq!(row(&idle), [true, false, false]);
        assert_eq!(row(&entered), [false, true, true]);
        assert_eq!(row(&terminal), [false, false, false]);
    }

    #[test]
    fn order_is_checked_before_the_state() {
        let mut env = StrictEnv::default();
        env.step(0, "a", Status::Enter).unwrap();
        env.step(1, "a", Status::Error).unwrap();
        assert!(matches!(env.check(1, "a", Status::Exit), Err(Refusal::OutOfOrder { expected: 2, found: 1 })));
        assert!(matches!(env.check(9, "a", Status::Exit), Err(Refusal::OutOfOrder { expected: 2, found: 9 })));
        assert!(matches!(env.check(2, "b", Status::Enter), Err(Refusal::Terminated { step: 2, .. })));
    }
}
