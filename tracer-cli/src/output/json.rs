//! JSON that a terminal may see.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use tracer::tree::Escaped;

/// Writes `value` as one line.
pub(crate) fn write_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Harmless))?;
    out.write_all(b"\n")
}

/// Compact, with every character escaped that [`Escaped`] escapes. JSON itself asks for no more than the first 32.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !c.is_ascii_graphic() && is_harmful(*c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

fn is_harmful(c: char) -> bool {
    let mut utf8 = [0; 4];
    let text = &*c.encode_utf8(&mut utf8);
    c != ' ' && Escaped(text).to_string() != text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_reads_back() {
        let text = "plain \"quoted\" ä 漢 \u{1b}[31m\n\u{7f}\u{9b}\u{202e}";
        let mut line = Vec::new();
        write_line(&mut line, &text).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "\"plain \\\"quoted\\\" ä 漢 \\u001b[31m\\n\\u007f\\u009b\\u202e\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
