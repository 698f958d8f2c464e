//! What is written where: data to the standard output, messages to the standard error.

mod colour;
mod json;
mod progress;
pub(crate) mod text;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::iter::successors;

pub(crate) use colour::{Choice, Colours, Ink};
pub(crate) use json::write_line as write_json_line;
pub(crate) use progress::Progress;
use text::Paragraph;

/// Messages for a person, on the standard error. That one may be closed; nobody is left to be told of it.
#[derive(Clone, Copy)]
pub(crate) struct Messages {
    pub(crate) colours: Colours,
}

impl Messages {
    /// What went wrong, why, and what to do.
    pub(crate) fn error(self, error: &dyn Error, help: &str) {
        self.tell(&self.colours.paint(Ink::Bad, "error"), error, help);
    }

    /// The same of something that the rest does not depend on.
    pub(crate) fn warning(self, error: &dyn Error, help: &str) {
        self.tell(&self.colours.paint(Ink::Warn, "warning"), error, help);
    }

    /// Something worth knowing.
    pub(crate) fn note(self, text: impl Display) {
        let mut stderr = io::stderr().lock();
        writeln!(stderr, "{}: {}", self.colours.paint(Ink::Live, "note"), Paragraph(&text.to_string())).ok();
    }

    fn tell(self, label: &dyn Display, error: &dyn Error, help: &str) {
        let mut stderr = io::stderr().lock();
        writeln!(stderr, "{label}: {}", Paragraph(&with_causes(error))).ok();
        if !help.is_empty() {
            writeln!(stderr, "  {}: {help}", self.colours.paint(Ink::Live, "help")).ok();
        }
    }
}

/// What it says, and what is behind it, unless it says that, too.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut above = text.clone();
    for cause in successors(error.source(), |&error| error.source()) {
        let cause = cause.to_string();
        if !above.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        above = cause;
    }
    text
}
