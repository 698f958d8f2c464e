//! Trees as texts.

use std::fmt::{self, Write};

use serde_json::Value;

use super::{Span, SpanOutcome, Tree};
use crate::record::{ErrorKind, ErrorRecord, Note};
use crate::stats::TraceState;

/// A drawn value is cut to this many characters.
const VALUE_LEN_MAX: usize = 120;

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let duration = Nanoseconds(self.duration_ns);
            writeln!(f, "{} {} · {} · {duration}", self.trace_id, Escaped(&self.source), self.state)?;
            if !self.payload.is_null() {
                writeln!(f, "payload {}{}", value(&self.payload), cut_mark(self.payload_truncated))?;
            }
        }
        if self.spans.is_empty() && !f.alternate() {
            writeln!(f, "{} (no calls)", Escaped(&self.source))?;
        }
        for (nth, span) in self.spans.iter().enumerate() {
            if nth > 0 && !f.alternate() {
                writeln!(f)?;
            }
            draw(f, span, "", "")?;
        }
        for violation in &self.violations {
            if let Note::FlowViolation { flow, from, to } = violation {
                let from = from.as_deref().unwrap_or("(nothing)");
                writeln!(f, "! flow {} has no edge {} -> {}", Escaped(flow), Escaped(from), Escaped(to))?;
            }
        }
        Ok(())
    }
}

/// As a part of the drawing of its trace.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        draw(f, self, "", "")
    }
}

/// As the detailed drawing shows it.
impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Recovered => "ok (recovered)",
            Self::Failed => "failed",
            Self::Lost => "lost",
        })
    }
}

/// A span and, behind branches, those below it. `branch` leads to it, `indent` to its children.
fn draw(f: &mut fmt::Formatter<'_>, span: &Span, branch: &str, indent: &str) -> fmt::Result {
    if f.alternate() {
        // In front of the tree, where they line up whatever the names, values and errors behind them.
        let duration = span.duration_ns.map(|ns| Nanoseconds(ns).to_string()).unwrap_or_default();
        write!(f, "{} {duration:>7}  {branch}{}", mark(&span.outcome), Label(span))?;
        match &span.outcome {
            SpanOutcome::Failed(error) => writeln!(f, " — {error}")?,
            _ => writeln!(f)?,
        }
    } else {
        write!(f, "{branch}{}", Label(span))?;
        match &span.outcome {
            SpanOutcome::Ok => writeln!(f)?,
            SpanOutcome::Failed(error) => writeln!(f, " {} {error}", mark(&span.outcome))?,
            other => writeln!(f, " {}", mark(other))?,
        }
    }
    for (nth, child) in span.children.iter().enumerate() {
        let (fork, below) = if nth + 1 == span.children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(f, child, &format!("{indent}{fork}"), &format!("{indent}{below}"))?;
    }
    if span.omitted > 0 {
        writeln!(f, "{indent}… and {} calls below", span.omitted)?;
    }
    Ok(())
}

fn mark(outcome: &SpanOutcome) -> char {
    match outcome {
        SpanOutcome::Ok => '✓',
        SpanOutcome::Failed(_) => '✗',
        SpanOutcome::Unwound => '↑',
        SpanOutcome::Open => '…',
    }
}

/// The node with its values: `charge(amount=5) → "paid"`.
struct Label<'a>(&'a Span);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(span) = self;
        // A tracer checks names; whoever wrote the records that were read back may not have.
        write!(f, "{}", Escaped(&span.node))?;
        match &span.arguments {
            Value::Null => {}
            Value::Object(fields) if span.frame.is_some() => {
                let fields = fields.iter().map(|(name, field)| format!("{}={}", Escaped(name), value(field)));
                write!(f, "({})", fields.collect::<Vec<_>>().join(", "))?;
            }
            other => write!(f, "({})", value(other))?,
        }
        f.write_str(cut_mark(span.arguments_truncated))?;
        if !span.result.is_null() {
            write!(f, " → {}", value(&span.result))?;
        }
        f.write_str(cut_mark(span.result_truncated))
    }
}

/// As drawings show it, in one line: its type or the way in which it failed, its text and those of its sources. Of an
/// error that is only a text, the text.
impl fmt::Display for ErrorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said: Vec<_> = self.message.iter().chain(&self.chain).map(|text| Escaped(&cut(text)).to_string()).collect();
        let what = match self.kind {
            ErrorKind::Err if self.type_name.is_empty() => "error".to_owned(),
            ErrorKind::Err => Escaped(&cut(&short_type(&self.type_name))).to_string(),
            ErrorKind::Panic => "panic".to_owned(),
            ErrorKind::Cancelled => "cancelled".to_owned(),
        };
        let is_text = matches!(&*what, "&str" | "String") && !said.is_empty();
        let what = Some(what).filter(|_| !is_text);
        f.write_str(&what.into_iter().chain(said).collect::<Vec<_>>().join(": "))
    }
}

/// `Option<a::b::C>` as `Option<C>`.
pub(super) fn short_type(name: &str) -> String {
    let mut short = String::new();
    for part in name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}

fn value(value: &Value) -> String {
    Escaped(&cut(&Hidden(value).to_string())).to_string()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_LEN_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Stands behind a value of which part was left out when it was recorded.
const fn cut_mark(is_truncated: bool) -> &'static str {
    if is_truncated { " (cut)" } else { "" }
}

/// A value as JSON in one line, what was redacted as `•••`: its hash differs from run to run, and says nothing by itself.
///
/// ```
/// # use tracer::tree::Hidden;
/// let login = serde_json::json!({"user": "ann", "password": {"$redacted": "0f3c5a71-9d2be8c4760a13f5"}});
/// assert_eq!(Hidden(&login).to_string(), r#"{"password":•••,"user":"ann"}"#);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Hidden<'a>(pub &'a Value);

impl fmt::Display for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        // A text that looks like this has its quotes escaped.
        let mut parts = text.split(r#"{"$redacted":"#);
        f.write_str(parts.next().unwrap_or_default())?;
        for part in parts {
            match part.split_once('}') {
                Some((mark, rest)) if is_redaction(mark) => write!(f, "•••{rest}")?,
                _ => write!(f, r#"{{"$redacted":{part}"#)?,
            }
        }
        Ok(())
    }
}

/// Whether this is what stands for a redacted value: a hash, or that there is none.
fn is_redaction(mark: &str) -> bool {
    let is_hash = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    mark == "true" || mark.strip_prefix('"').and_then(|mark| mark.strip_suffix('"')).is_some_and(is_hash)
}

/// A text with its control characters escaped, and those that turn the direction of what follows: what was recorded is
/// not to drive a terminal.
///
/// ```
/// # use tracer::tree::Escaped;
/// assert_eq!(Escaped("a\u{1b}[2J\n").to_string(), r"a\u{1b}[2J\n");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A duration as drawings show it: three digits and a unit.
///
/// ```
/// # use tracer::tree::Nanoseconds;
/// assert_eq!(Nanoseconds(1_234_567).to_string(), "1.23 ms");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanoseconds(pub u64);

impl fmt::Display for Nanoseconds {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            ns @ 0..=999 => return write!(f, "{ns} ns"),
            ns @ 1_000..=999_999 => (ns as f64 / 1e3, "µs"),
            ns @ 1_000_000..=999_999_999 => (ns as f64 / 1e6, "ms"),
            ns => (ns as f64 / 1e9, "s"),
        };
        let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
        write!(f, "{number:.digits$} {unit}")
    }
}

/// Spans in one line: `handle > parse, validate!(BadEvent)`.
pub(super) fn line(spans: &[Span]) -> String {
    let mut text = String::new();
    // Each once: comparing spans would make the lines of those below them again at every level.
    let lines: Vec<_> = spans.iter().map(|span| (span, span_line(span))).collect();
    let mut rest = &*lines;
    while let Some(((span, one), after)) = rest.split_first() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let equal = after.iter().take_while(|(_, next)| next == one).count();
        rest = &after[equal..];
        // Whatever follows would be read as one more child.
        let closed = span.children.is_empty() || (rest.is_empty() && equal == 0);
        let (before, behind) = if closed { ("", "") } else { ("(", ")") };
        text.extend([before, one, behind]);
        if equal > 0 {
            let _infallible = write!(text, "*{}", equal + 1);
        }
    }
    text
}

fn span_line(span: &Span) -> String {
    let mut text = span.node.clone();
    match &span.outcome {
        SpanOutcome::Ok => {}
        SpanOutcome::Unwound => text.push('^'),
        SpanOutcome::Open => text.push('?'),
        SpanOutcome::Failed(error) => match error.kind {
            ErrorKind::Panic => text.push_str("!panic"),
            ErrorKind::Cancelled => text.push_str("!cancelled"),
            ErrorKind::Err if error.type_name.is_empty() => text.push('!'),
            ErrorKind::Err => {
                let _infallible = write!(text, "!({})", short_type(&error.type_name));
            }
        },
    }
    if !span.children.is_empty() {
        let _infallible = write!(text, " > {}", line(&span.children));
    }
    if span.omitted > 0 {
        text.push_str(" > ..");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, SCHEMA};

    #[test]
    fn only_what_was_redacted_is_hidden() {
        let hash = "0f3c5a71-9d2be8c4760a13f5";
        for (json, drawn) in [
            (serde_json::json!([{"$redacted": hash}, {"$redacted": true}, 1]), "[•••,•••,1]".to_owned()),
            (serde_json::json!({"$redacted": {"a": 1}}), r#"{"$redacted":{"a":1}}"#.to_owned()),
            (serde_json::json!({"$redacted": "shown"}), r#"{"$redacted":"shown"}"#.to_owned()),
            (serde_json::json!(r#"{"$redacted":true}"#), r#""{\"$redacted\":true}""#.to_owned()),
        ] {
            assert_eq!(value(&json), drawn);
        }
    }

    /// Records read back from elsewhere: no tracer has checked the names in them.
    #[test]
    fn nothing_that_was_recorded_drives_a_terminal() {
        let evil = "a\u{1b}[31m\n\u{9b}b\u{202e}";
        let (trace, env) = (format!("{:032x}", 1), format!("{:016x}", 1));
        let record = |kind: &str, seq: u64, mut rest: serde_json::Value| -> Record {
            let common = serde_json::json!({
                "type": kind, "schema": SCHEMA, "trace_id": trace, "env_id": env, "step_id": seq, "seq": seq, "ts": "0",
            });
            rest.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
            serde_json::from_value(rest).unwrap()
        };
        let error = serde_json::json!({"kind": "err", "type": evil, "message": evil, "chain": [evil]});
        let flow = serde_json::json!({"kind": "flow_violation", "flow": evil, "from": evil, "to": evil});
        let records = [
            record("env", 0, serde_json::json!({"source": evil, "payload": {evil: evil}, "cause": "root"})),
            record("step", 1, serde_json::json!({"node": evil, "status": "enter", "meta": {evil: evil}})),
            record("step", 2, serde_json::json!({"node": evil, "status": "error", "error": error})),
            record("note", 3, serde_json::json!({"note": flow})),
        ];
        let tree = &Tree::of(&records, &[])[0];
        for drawn in [tree.to_string(), format!("{tree:#}")] {
            let driving = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!drawn.contains(driving), "{drawn:?}");
            assert_eq!(drawn.lines().count(), if drawn.contains("payload") { 4 } else { 2 }, "{drawn}");
        }
    }
}
