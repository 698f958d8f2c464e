//! Texts for a person.

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use tracer::TraceState;
use tracer::tree::{Escaped, Hidden};

use super::{Colours, Ink};
use crate::source::Telling;

/// Unix nanoseconds as a time of day in UTC, to the second, or as many characters that say that it is not known.
pub(crate) fn time(ns: Option<u64>) -> String {
    let known = ns.map(|ns| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(ns)).to_string());
    known.unwrap_or_else(|| format!("{UNKNOWN:<20}"))
}

/// Stands for a time that is not known.
pub(crate) const UNKNOWN: &str = "(unknown)";

/// Unix nanoseconds as a time of day in UTC, to the microsecond.
pub(crate) fn precise_time(ns: u64) -> String {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}

/// Several lines, each with its control characters escaped.
pub(crate) struct Paragraph<'a>(pub(crate) &'a str);

impl Display for Paragraph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, line) in self.0.split('\n').enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            Escaped(line).fmt(f)?;
        }
        Ok(())
    }
}

/// A path in one line, its control characters escaped.
pub(crate) fn path(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

/// `1 record`, `2 records`.
pub(crate) fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in the unit that they are usually told in.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A text of no more than `max` characters; where it was cut, `…` is the last.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// A name with its values: `charge(order=7)`, `charge` if there are none. Long values are cut, all is escaped.
pub(crate) fn call(name: &str, values: &Value) -> String {
    const VALUE_LEN_MAX: usize = 120;
    let value = |value: &Value| {
        // As trees draw it.
        Escaped(&cut(&Hidden(value).to_string(), VALUE_LEN_MAX)).to_string()
    };
    let name = Escaped(name);
    match values {
        Value::Null => name.to_string(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| format!("{}={}", Escaped(name), value(field)));
            format!("{name}({})", fields.collect::<Vec<_>>().join(", "))
        }
        other => format!("{name}({})", value(other)),
    }
}

/// Stands behind values of which part was left out when they were recorded.
pub(crate) fn cut_mark(is_truncated: bool) -> &'static str {
    if is_truncated { " (cut)" } else { "" }
}

pub(crate) fn state_ink(state: TraceState) -> Ink {
    match state {
        TraceState::Ok => Ink::Good,
        TraceState::Failed | TraceState::Lost => Ink::Bad,
        TraceState::Recovered => Ink::Warn,
        TraceState::Running => Ink::Live,
        _ => Ink::Plain,
    }
}

/// What a node says about how its trace ended: `✗ charge: CardError: declined`, `… charge(order=7)`.
pub(crate) fn telling(telling: &Telling, colours: Colours) -> String {
    const CALL_LEN_MAX: usize = 80;
    if let Some(error) = &telling.error {
        return format!("{} {}: {error}", colours.paint(Ink::Bad, '✗'), Escaped(&telling.node));
    }
    let call = cut(&call(&telling.node, &telling.arguments), CALL_LEN_MAX);
    format!("{} {call}{}", colours.paint(Ink::Warn, '…'), cut_mark(telling.truncated))
}

/// The detailed drawing of a tree, with the mark in front of each node coloured.
pub(crate) fn drawing(drawn: &str, colours: Colours) -> String {
    let mut painted = String::new();
    for line in drawn.lines() {
        let ink = match line.chars().next() {
            Some('✓') => Ink::Good,
            Some('✗' | '!') => Ink::Bad,
            Some('↑' | '…') => Ink::Warn,
            _ => Ink::Plain,
        };
        let at = line.chars().next().map_or(0, char::len_utf8);
        let (mark, rest) = line.split_at(at);
        let _infallible = writeln!(painted, "{}{}", colours.paint(ink, mark), Escaped(rest));
    }
    painted
}
