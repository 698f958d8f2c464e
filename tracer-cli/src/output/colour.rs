//! Colours, where somebody sees them.

use std::fmt::{self, Display};
use std::{env, io};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`
    Auto,
    /// Also into files and pipes
    Always,
    /// Nowhere
    Never,
}

/// Whether a stream gets colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colours(bool);

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Good,
    Bad,
    Warn,
    /// Running, or to look at.
    Live,
    /// Beside the point.
    Faint,
    Plain,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Warn => "33",
            Self::Live => "36",
            Self::Faint => "2",
            Self::Plain => "",
        }
    }
}

impl Colours {
    /// For this stream, in this environment.
    pub(crate) fn for_stream(choice: Choice, stream: &impl io::IsTerminal) -> Self {
        let says = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::decide(choice, stream.is_terminal(), says("NO_COLOR"), dumb)
    }

    fn decide(choice: Choice, is_terminal: bool, no_color: bool, dumb: bool) -> Self {
        Self(match choice {
            Choice::Always => true,
            Choice::Never => false,
            Choice::Auto => is_terminal && !no_color && !dumb,
        })
    }

    /// `text` in this colour. Whatever was recorded in it has to be escaped already.
    pub(crate) fn paint<T: Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted { code: if self.0 { ink.code() } else { "" }, text }
    }
}

/// A text in its colour.
pub(crate) struct Painted<T> {
    code: &'static str,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            return self.text.fmt(f);
        }
        write!(f, "\u{1b}[{}m", self.code)?;
        self.text.fmt(f)?;
        f.write_str("\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_terminal() {
        let on = |choice, is_terminal, no_color, dumb| Colours::decide(choice, is_terminal, no_color, dumb).0;
        assert!(on(Choice::Auto, true, false, false));
        assert!(!on(Choice::Auto, false, false, false));
        assert!(!on(Choice::Auto, true, true, false));
        assert!(!on(Choice::Auto, true, false, true));
        assert!(on(Choice::Always, false, true, true));
        assert!(!on(Choice::Never, true, false, false));
    }
}
