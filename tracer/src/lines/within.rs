//! Being at a position for a while: during a poll, a drop, or a call that was carried elsewhere.

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
        let entered = scope::with(|scope| (scope.hold(at.cell) == Some(true), scope.go(Some(at))));
        let (holds, before) = entered.unwrap_or((false, None));
        Self { at, before, holds }
    }
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        scope::with(|scope| {
            scope.go(self.before);
            if self.holds {
                scope.let_go(self.at.cell);
            }
        });
    }
}
