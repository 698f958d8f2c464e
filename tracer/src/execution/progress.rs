//! How far an attempt has come.

use serde::{Deserialize, Serialize};

/// How far an attempt has come: so many of so many.
///
/// ```
/// use tracer::execution::Progress;
///
/// let progress = Progress::new(50, 200).message("importing");
/// assert_eq!(progress.percent, 25.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Progress {
    /// How many are done.
    pub current: u64,
    /// How many there are; not zero.
    pub total: u64,
    /// From 0 to 100: `current / total * 100` unless given.
    pub percent: f64,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why a progress is refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// There is nothing to do that could be done in part.
    #[error("expected a total of at least 1, found 0")]
    NoTotal,
    /// More is done than there is.
    #[error("expected at most {total} to be done, found {current}")]
    TooMany {
        /// How many are said to be done.
        current: u64,
        /// How many there are.
        total: u64,
    },
    /// Not a percentage.
    #[error("expected a percentage from 0 to 100, found {0}")]
    NoPercentage(f64),
    /// Progress does not fall within an attempt.
    #[error("expected at least the {reached} % that this attempt has reached, found {found} %")]
    Falls {
        /// What was reported before.
        reached: f64,
        /// What is reported now.
        found: f64,
    },
}

impl Progress {
    /// So many of so many.
    #[expect(clippy::cast_precision_loss, reason = "a percentage of numbers beyond 2^53 is as good as exact")]
    pub fn new(current: u64, total: u64) -> Self {
        let percent = if total == 0 { 0.0 } else { current as f64 / total as f64 * 100.0 };
        Self { current, total, percent, message: None }
    }

    /// Says what is being done.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the percentage, where the pieces do not take equally long.
    #[must_use]
    pub fn percent(mut self, percent: f64) -> Self {
        self.percent = percent;
        self
    }

    /// Whether this can be said after `before`, in the same attempt.
    pub(super) fn check(&self, before: Option<&Self>) -> Result<(), ProgressError> {
        let &Self { current, total, percent, .. } = self;
        if total == 0 {
            return Err(ProgressError::NoTotal);
        }
        if current > total {
            return Err(ProgressError::TooMany { current, total });
        }
        if !(0.0..=100.0).contains(&percent) {
            return Err(ProgressError::NoPercentage(percent));
        }
        match before {
            Some(before) if percent < before.percent => {
                Err(ProgressError::Falls { reached: before.percent, found: percent })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_derived_unless_given() {
        let percent = |progress: &Progress| format!("{:.2}", progress.percent);
        assert_eq!(percent(&Progress::new(50, 100)), "50.00");
        assert_eq!(percent(&Progress::new(1, 3)), "33.33");
        assert_eq!(percent(&Progress::new(50, 100).percent(75.0)), "75.00");
        assert_eq!(percent(&Progress::new(u64::MAX, u64::MAX)), "100.00");
    }

    #[test]
    fn nonsense_is_refused_and_says_what_was_found() {
        let refused = |progress: Progress, before: Option<Progress>| {
            progress.check(before.as_ref()).map_err(|error| error.to_string())
        };
        let half = Progress::new(1, 2);
        for (progress, before, message) in [
            (Progress::new(0, 0), None, "expected a total of at least 1, found 0"),
            (Progress::new(3, 2), None, "expected at most 2 to be done, found 3"),
            (Progress::new(1, 2).percent(100.5), None, "expected a percentage from 0 to 100, found 100.5"),
            (Progress::new(1, 2).percent(-0.5), None, "expected a percentage from 0 to 100, found -0.5"),
            (Progress::new(1, 2).percent(f64::NAN), None, "expected a percentage from 0 to 100, found NaN"),
            (
                Progress::new(1, 4),
                Some(half.clone()),
                "expected at least the 50 % that this attempt has reached, found 25 %",
            ),
        ] {
            assert_eq!(refused(progress, before), Err(message.to_owned()));
        }
        assert_eq!(refused(half.clone(), Some(half.clone())), Ok(()));
        assert_eq!(refused(Progress::new(3, 3), Some(half)), Ok(()));
    }
}
