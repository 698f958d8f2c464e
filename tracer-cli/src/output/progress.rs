//! A bar while something takes long.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far something has come; on the standard error, and only if that is a terminal.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Of so many bytes.
    pub(crate) fn reading(bytes: u64) -> Self {
        Self::new(bytes, "reading {wide_bar} {percent} %, {eta} left")
    }

    /// Of what is done too often to be shown.
    pub(crate) fn none(_: u64) -> Self {
        Self(None)
    }

    /// Of so many traces.
    pub(crate) fn listing(traces: u64) -> Self {
        Self::new(traces, "listing {wide_bar} {percent} %, {eta} left")
    }

    /// Of so many records.
    pub(crate) fn writing(records: u64) -> Self {
        Self::new(records, "writing {wide_bar} {percent} %, {eta} left")
    }

    fn new(total: u64, template: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
            let style = ProgressStyle::with_template(template);
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self(bar)
    }

    /// Where the answer appears on the terminal meanwhile, there is none.
    pub(crate) fn unless(mut self, is_seen: bool) -> Self {
        Self(self.0.take().filter(|_| !is_seen))
    }

    /// So much more is done with.
    pub(crate) fn advance(&self, more: u64) {
        let Some(bar) = &self.0 else { return };
        bar.inc(more);
        if bar.is_hidden() && bar.elapsed() > PATIENCE {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
