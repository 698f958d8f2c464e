//! What the command line names: `last`, `last-failed`, or the beginning of an id.

/// So many candidates are listed where several are meant.
pub(crate) const CANDIDATES_MAX: usize = 10;
/// How many a whole id has.
pub(crate) const DIGITS: usize = 32;

/// A trace or an execution as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The newest.
    Last,
    /// The newest that did not end well.
    LastFailed,
    /// The one whose id begins with these hex digits.
    Prefix(String),
}

/// A text that names none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `last`, `last-failed` or the first hex digits of an id (`{kind}` may stand before them)")]
pub(crate) struct ParseWantedError {
    kind: &'static str,
}

impl Wanted {
    /// A trace.
    pub(crate) fn trace(text: &str) -> Result<Self, ParseWantedError> {
        Self::parse(text, "tr_")
    }

    /// An execution.
    pub(crate) fn execution(text: &str) -> Result<Self, ParseWantedError> {
        Self::parse(text, "ex_")
    }

    /// `kind` may stand before the digits of its ids.
    fn parse(text: &str, kind: &'static str) -> Result<Self, ParseWantedError> {
        match text {
            "last" => return Ok(Self::Last),
            "last-failed" => return Ok(Self::LastFailed),
            _ => {}
        }
        let digits = text.strip_prefix(kind).unwrap_or(text);
        let is_prefix = (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_prefix { Ok(Self::Prefix(digits.to_ascii_lowercase())) } else { Err(ParseWantedError { kind }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_with_and_without_their_prefix() {
        assert_eq!(Wanted::trace("last"), Ok(Wanted::Last));
        assert_eq!(Wanted::execution("last-failed"), Ok(Wanted::LastFailed));
        for text in ["0af", "tr_0af", "0AF"] {
            assert_eq!(Wanted::trace(text), Ok(Wanted::Prefix("0af".to_owned())));
        }
        assert_eq!(Wanted::execution("ex_0af"), Ok(Wanted::Prefix("0af".to_owned())));
        for text in ["", "tr_", "ex_0af", "newest", "tr_last", &"0".repeat(33), "\u{1b}[2J"] {
            assert_eq!(Wanted::trace(text), Err(ParseWantedError { kind: "tr_" }), "{text:?}");
        }
    }
}
