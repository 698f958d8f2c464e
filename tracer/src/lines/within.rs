//! Being at a position for a while: during a poll, a drop, or a call that was carried elsewhere.

use super::hot;
use super::scope::{self, Position};

/// This thread is at a position until it is dropped.
#[derive(Debug)]
pub(super) struct Within {
    at: Position,
    before: Option<Position>,
    holds: bool,
}

impl Within {
    #[inline]
    pub(super) fn enter(at: Position) -> Self {
        match hot::with(|hot| hot.go(at)) {
            Some(before) => Self { at, before: Some(before), holds: false },
            None => Self::enter_elsewhere(at),
        }
    }

    #[inline(never)]
    fn enter_elsewhere(at: Position) -> Self {
        let entered = scope::with(|scope| (scope.hold(at.cell) == Some(true), scope.go(Some(at))));
        let (holds, before) = entered.unwrap_or((false, None));
        Self { at, before, holds }
    }

    /// Where the thread was before, if that is all that is to be restored.
    #[inline]
    pub(super) fn before(&self) -> Option<Position> {
        self.before.filter(|before| !self.holds && std::ptr::eq(before.cell, self.at.cell))
    }

    #[inline(never)]
    fn leave_elsewhere(&self) {
        scope::with(|scope| {
            scope.go(self.before);
            if self.holds {
                scope.let_go(self.at.cell);
            }
        });
    }
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        if self.before().and_then(|before| hot::with(|hot| hot.go(before))).is_none() {
            self.leave_elsewhere();
        }
    }
}
