//! Being at a position for a while: during a poll, a drop, or a call that was carried elsewhere.

use super::cell::Cell;
use super::hot;
use super::scope::{self, Position};

/// This thread is in a line until it is dropped.
#[derive(Debug)]
pub(super) struct Within(Stay);

/// Where a thread is for a while, and where it goes back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stay {
    /// The line that it is in. Always there; asking whether it is would cost.
    pub(super) cell: Option<&'static Cell>,
    pub(super) home: Home,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Home {
    /// The frame with this number in the same line (0: none), and that is all that is to be restored.
    Here(u64),
    Elsewhere {
        before: Option<Position>,
        /// The line is to be let go of.
        holds: bool,
    },
}

impl Within {
    #[inline]
    pub(super) fn enter(at: Position) -> Self {
        let before = hot::with(|hot| hot.go(Some(at.cell), at.raw_frame()));
        Self(
            before.map_or_else(|| Stay::elsewhere(at), |before| Stay { cell: Some(at.cell), home: Home::Here(before) }),
        )
    }
}

impl Stay {
    /// Goes to a position that is not in the line that the thread is in, or not known to be.
    #[inline(never)]
    pub(super) fn elsewhere(at: Position) -> Self {
        let entered = scope::with(|scope| (scope.hold(at.cell) == Some(true), scope.go(Some(at))));
        let (holds, before) = entered.unwrap_or((false, None));
        let home = match before {
            Some(before) if !holds && std::ptr::eq(before.cell, at.cell) => Home::Here(before.raw_frame()),
            _ => Home::Elsewhere { before, holds },
        };
        Self { cell: Some(at.cell), home }
    }

    /// Goes back.
    #[inline]
    pub(super) fn leave(&self) {
        let is_back = matches!(self.home, Home::Here(before) if hot::with(|hot| hot.go(self.cell, before)).is_some());
        if !is_back {
            self.leave_otherwise();
        }
    }

    #[inline(never)]
    fn leave_otherwise(&self) {
        let (before, holds) = match self.home {
            Home::Here(before) => (Position::of(self.cell, before), false),
            Home::Elsewhere { before, holds } => (before, holds),
        };
        scope::with(|scope| {
            scope.go(before);
            if let (true, Some(cell)) = (holds, self.cell) {
                scope.let_go(cell);
            }
        });
    }
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}
