//! What a trace is expected to be, in one line.

use std::fmt;
use std::str::FromStr;

use super::{Span, SpanOutcome, draw};
use crate::record::ErrorKind;

/// Calls as a test expects them: `handle > parse, validate!(BadEvent)`.
///
/// | written | means |
/// |---|---|
/// | `a > b, c` | `a` called `b`, then `c`: nothing else, in this order |
/// | `a > (b > c), d` | parentheses end a list: here `d` was called by `a` |
/// | `a` | it ended well, or with the error of a span below it |
/// | `a!` | it failed, in whatever way |
/// | `a!(BadEvent)` | it returned an error of this type (last part of its path), or with exactly this text |
/// | `a!panic`, `a!cancelled` | it panicked, its future was dropped |
/// | `a^` | it ended with the error of a span below it |
/// | `a?` | it is open |
/// | `a*3` | three times in a row |
/// | `_` | any one span, with whatever it called |
/// | `..` | any number of spans, at the end of a list |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    spans: Vec<Expected>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    /// `None`: any.
    node: Option<String>,
    ending: Ending,
    times: usize,
    /// `..`: any number of any spans.
    rest: bool,
    children: Vec<Expected>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    Well,
    Failed,
    Error(String),
    Kind(ErrorKind),
    Unwound,
    Open,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at} of the pattern, found `{found}`")]
pub struct ParsePatternError {
    at: usize,
    expected: &'static str,
    found: String,
}

impl Pattern {
    /// Whether these are the expected calls.
    pub fn matches(&self, spans: &[Span]) -> bool {
        matches(&self.spans, spans)
    }
}

fn matches(expected: &[Expected], mut spans: &[Span]) -> bool {
    for one in expected {
        if one.rest {
            return true;
        }
        let Some((these, after)) = spans.split_at_checked(one.times) else { return false };
        if !these.iter().all(|span| one.matches(span)) {
            return false;
        }
        spans = after;
    }
    spans.is_empty()
}

impl Expected {
    fn matches(&self, span: &Span) -> bool {
        let Some(node) = &self.node else { return true };
        *node == span.node && self.ending.matches(&span.outcome) && matches(&self.children, &span.children)
    }
}

impl Ending {
    fn matches(&self, outcome: &SpanOutcome) -> bool {
        match (self, outcome) {
            (Self::Well, SpanOutcome::Ok | SpanOutcome::Unwound)
            | (Self::Failed, SpanOutcome::Failed(_) | SpanOutcome::Unwound)
            | (Self::Unwound, SpanOutcome::Unwound)
            | (Self::Open, SpanOutcome::Open) => true,
            (Self::Error(said), SpanOutcome::Failed(error)) => {
                error.kind == ErrorKind::Err
                    && (draw::short_type(&error.type_name) == *said || error.message.as_ref() == Some(said))
            }
            (Self::Kind(kind), SpanOutcome::Failed(error)) => error.kind == *kind,
            _ => false,
        }
    }
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        let mut parser = Parser { text, at: 0 };
        parser.space();
        let spans = if parser.rest().is_empty() { Vec::new() } else { parser.list()? };
        if parser.rest().is_empty() { Ok(Self { spans }) } else { Err(parser.expected("`,`, `>` or the end")) }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn expected(&self, expected: &'static str) -> ParsePatternError {
        let found = self.rest().chars().take(20).collect::<String>();
        let found = if found.is_empty() { "the end".to_owned() } else { found };
        ParsePatternError { at: self.at, expected, found }
    }

    /// Takes `token` and the space after it.
    fn eat(&mut self, token: &str) -> bool {
        let eaten = self.rest().starts_with(token);
        if eaten {
            self.at += token.len();
            self.space();
        }
        eaten
    }

    fn list(&mut self) -> Result<Vec<Expected>, ParsePatternError> {
        let mut list = vec![self.one()?];
        while self.eat(",") {
            list.push(self.one()?);
        }
        Ok(list)
    }

    fn one(&mut self) -> Result<Expected, ParsePatternError> {
        if self.eat("..") {
            return Ok(Expected { node: None, ending: Ending::Well, times: 1, rest: true, children: Vec::new() });
        }
        let mut one = if self.eat("(") {
            let one = self.one()?;
            if !self.eat(")") {
                return Err(self.expected("`)`"));
            }
            one
        } else {
            self.span()?
        };
        if self.eat("*") {
            let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
            one.times = self.rest()[..digits].parse().map_err(|_| self.expected("a number"))?;
            self.at += digits;
            self.space();
        }
        Ok(one)
    }

    fn span(&mut self) -> Result<Expected, ParsePatternError> {
        let is_name = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'/');
        let len = self.rest().bytes().take_while(|b| is_name(*b)).count();
        let name = &self.rest()[..len];
        if name.is_empty() {
            return Err(self.expected("a node"));
        }
        self.at += len;
        self.space();
        let ending = self.ending()?;
        let children = if self.eat(">") { self.list()? } else { Vec::new() };
        let node = (name != "_").then(|| name.to_owned());
        Ok(Expected { node, ending, times: 1, rest: false, children })
    }

    fn ending(&mut self) -> Result<Ending, ParsePatternError> {
        if self.eat("^") {
            return Ok(Ending::Unwound);
        }
        if self.eat("?") {
            return Ok(Ending::Open);
        }
        if !self.eat("!") {
            return Ok(Ending::Well);
        }
        if self.eat("panic") {
            return Ok(Ending::Kind(ErrorKind::Panic));
        }
        if self.eat("cancelled") {
            return Ok(Ending::Kind(ErrorKind::Cancelled));
        }
        if !self.eat("(") {
            return Ok(Ending::Failed);
        }
        let Some(len) = closing(self.rest()) else { return Err(self.expected("a type or a text, and `)`")) };
        let said = self.rest()[..len].trim().to_owned();
        self.at += len + 1;
        self.space();
        Ok(Ending::Error(said))
    }
}

/// The place of the parenthesis that closes one before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.spans)
    }
}

fn list(f: &mut fmt::Formatter<'_>, spans: &[Expected]) -> fmt::Result {
    for (nth, span) in spans.iter().enumerate() {
        if nth > 0 {
            f.write_str(", ")?;
        }
        if span.rest {
            f.write_str("..")?;
            continue;
        }
        let open = !span.children.is_empty() && (nth + 1 < spans.len() || span.times > 1);
        f.write_str(if open { "(" } else { "" })?;
        f.write_str(span.node.as_deref().unwrap_or("_"))?;
        match &span.ending {
            Ending::Well => {}
            Ending::Failed => f.write_str("!")?,
            Ending::Error(said) => write!(f, "!({said})")?,
            Ending::Kind(ErrorKind::Panic) => f.write_str("!panic")?,
            Ending::Kind(_) => f.write_str("!cancelled")?,
            Ending::Unwound => f.write_str("^")?,
            Ending::Open => f.write_str("?")?,
        }
        if !span.children.is_empty() {
            f.write_str(" > ")?;
            list(f, &span.children)?;
        }
        f.write_str(if open { ")" } else { "" })?;
        if span.times > 1 {
            write!(f, "*{}", span.times)?;
        }
    }
    Ok(())
}
