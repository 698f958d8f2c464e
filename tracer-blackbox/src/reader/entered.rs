//! What is open in an env: a few calls, unless somebody means harm.

use std::collections::HashMap;

use super::scan::Slot;

/// A call that was entered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    /// The frame, or by hand the step.
    pub(super) run: u64,
    pub(super) is_frame: bool,
    pub(super) site: u32,
    pub(super) ticks: u64,
    pub(super) slot: Option<Slot>,
}

/// How many are looked through one by one.
const FEW: usize = 64;

/// Those that are open.
#[derive(Debug)]
pub(super) enum Calls {
    /// In the order in which they were entered.
    Few(Vec<Entered>),
    /// By what ends them, where to look through all would take the square of the time.
    Many(HashMap<(u64, bool), Entered>),
}

impl Default for Calls {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Calls {
    pub(super) fn push(&mut self, entered: Entered) {
        match self {
            Self::Few(few) if few.len() < FEW => few.push(entered),
            Self::Few(few) => {
                let all = few.drain(..).chain([entered]);
                *self = Self::Many(all.map(|entered| (key(&entered), entered)).collect());
            }
            Self::Many(many) => drop(many.insert(key(&entered), entered)),
        }
    }

    pub(super) fn has(&self, run: u64, is_frame: bool) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|entered| key(entered) == (run, is_frame)),
            Self::Many(many) => many.contains_key(&(run, is_frame)),
        }
    }

    pub(super) fn end(&mut self, run: u64, is_frame: bool) {
        match self {
            Self::Few(few) => {
                // Nearly always the last.
                if let Some(place) = few.iter().rposition(|entered| key(entered) == (run, is_frame)) {
                    few.remove(place);
                }
            }
            Self::Many(many) => drop(many.remove(&(run, is_frame))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    /// In whatever order.
    pub(super) fn all(&self) -> Vec<Entered> {
        match self {
            Self::Few(few) => few.clone(),
            Self::Many(many) => many.values().copied().collect(),
        }
    }
}

fn key(entered: &Entered) -> (u64, bool) {
    (entered.run, entered.is_frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_open_those_that_have_not_ended_are() {
        for count in [1, 64, 65, 1000] {
            let mut calls = Calls::default();
            for run in 0..count {
                calls.push(Entered { run, is_frame: true, site: 7, ticks: run, slot: None });
            }
            assert_eq!(matches!(calls, Calls::Many(_)), count > 64, "not one by one");
            // The first first, and one that is none of them.
            (0..count / 2).for_each(|run| calls.end(run, true));
            calls.end(count - 1, false);
            let mut open: Vec<_> = calls.all().iter().map(|entered| entered.run).collect();
            open.sort_unstable();
            assert!(open.iter().copied().eq(count / 2..count), "{open:?}");
            assert!(calls.has(count - 1, true) && !calls.has(count - 1, false));
            (count / 2..count).for_each(|run| calls.end(run, true));
            assert!(calls.is_empty());
        }
    }
}
