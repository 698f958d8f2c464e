//! Lines of bytes, none of which takes more memory than a record may.

use std::io::{self, BufRead, Read};

/// Longer lines are passed over without being kept. A tracer bounds what it records to far less.
pub(super) const LINE_LEN_MAX: usize = 16 << 20;

/// Reads lines.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    pub(super) number: u64,
    /// Bytes of the lines so far.
    pub(super) len: u64,
    /// Likewise, without a last line that lacks its end.
    pub(super) ended_len: u64,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// The last one, whose end is missing.
    Torn(&'a [u8]),
    /// It has more than [`LINE_LEN_MAX`] bytes.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), number: 0, len: 0, ended_len: 0 }
    }

    /// The next line, unless there is none.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let limit = LINE_LEN_MAX as u64 + 1;
        let len = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if len == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.len += len as u64;
        if self.line.last() == Some(&b'\n') {
            self.ended_len = self.len;
            self.line.pop();
            return Ok(Some(Line::Whole(&self.line)));
        }
        if len <= LINE_LEN_MAX {
            return Ok(Some(Line::Torn(&self.line)));
        }
        self.pass_over()?;
        Ok(Some(Line::TooLong))
    }

    /// Goes on behind the end of this line.
    fn pass_over(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(count);
            self.len += count as u64;
            if end.is_some() {
                self.ended_len = self.len;
            }
            if end.is_some() || count == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_and_the_next_is_read() {
        let long = vec![b'x'; LINE_LEN_MAX + 1];
        let text = [b"a\n\n", &*long, b"\nb\n", &long[1..], b"\n", b"torn"].concat();
        let mut lines = Lines::new(&*text);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"a")));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"")));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"b")));
        assert!(matches!(lines.next().unwrap(), Some(Line::Whole(line)) if line.len() == LINE_LEN_MAX));
        assert_eq!(lines.next().unwrap(), Some(Line::Torn(b"torn")));
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.ended_len, text.len() as u64 - 4);

        let mut lines = Lines::new(&*long);
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert_eq!((lines.len, lines.ended_len), (long.len() as u64, 0));
    }
}
