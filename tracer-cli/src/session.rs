//! What all verbs have in common: where to look, how to write.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Colours, Messages, Progress, text, write_json_line};
use crate::source::{self, Source};

/// One run of the program.
pub(crate) struct Session<'a> {
    /// Directories and files.
    pub(crate) places: Vec<PathBuf>,
    /// The files are copies, of a machine that stayed up.
    pub(crate) copied: bool,
    /// JSON instead of text.
    pub(crate) json: bool,
    /// Of the standard output.
    pub(crate) colours: Colours,
    /// The standard output.
    pub(crate) out: Box<dyn Write + 'a>,
    pub(crate) messages: Messages,
}

impl Session<'_> {
    /// Reads every file, and warns of those that cannot be read: the exit code then says so.
    pub(crate) fn read(&self) -> (Vec<Source>, Exit) {
        let reading = source::read_all(&self.places, self.copied, |total_bytes| {
            let progress = Progress::reading(total_bytes);
            move |bytes| progress.advance(bytes)
        });
        for trouble in &reading.troubles {
            if reading.sources.is_empty() {
                self.messages.error(trouble, trouble.help());
            } else {
                self.messages.warning(trouble, trouble.help());
            }
        }
        let exit = if reading.troubles.is_empty() { Exit::Done } else { Exit::Unreadable };
        (reading.sources, exit)
    }

    /// Is told of each trace that is gone through. Lines of JSON are written one by one as that is done.
    pub(crate) fn listing(&self, traces: usize) -> Progress {
        Progress::listing(traces as u64).unless(self.json && io::stdout().is_terminal())
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        write_json_line(&mut self.out, value)
    }

    /// The places for a message.
    pub(crate) fn shown_places(&self) -> String {
        let places: Vec<_> = self.places.iter().map(|place| format!("`{}`", text::path(place))).collect();
        places.join(", ")
    }
}
