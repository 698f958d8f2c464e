//! `tracer tail`: the newest records, one a line, and those that come.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracer::tree::Escaped;
use tracer::{Note, Record, StepRecord};

use crate::args::Tail;
use crate::exit::{Exit, Failure};
use crate::output::{Colours, Ink, text};
use crate::session::Session;
use crate::source::{self, Follow, Found, ReadError};

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Tail, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut followed = Followed::default();
    let (mut newest, troubles) = followed.poll(&session.places, args.lines);
    let mut exit = Exit::Done;
    for trouble in &troubles {
        session.messages.warning(trouble, trouble.help());
        exit = Exit::Unreadable;
    }
    if newest.is_empty() && !args.follow && exit == Exit::Done {
        session.messages.note(format!("no records in {}", session.shown_places()));
        return Ok(Exit::Nothing);
    }
    loop {
        for record in newest {
            write_record(session, &record)?;
        }
        if !args.follow {
            return Ok(exit);
        }
        session.out.flush()?;
        thread::sleep(PAUSE);
        // What cannot be read was said once; files come and go while they are followed.
        (newest, _) = followed.poll(&session.places, usize::MAX);
    }
}

/// The files that are followed.
#[derive(Default)]
struct Followed(BTreeMap<PathBuf, Box<dyn Follow>>);

impl Followed {
    /// The newest records since the last time, oldest first and no more than `max`, and what could not be read.
    fn poll(&mut self, places: &[PathBuf], max: usize) -> (Vec<Record>, Vec<ReadError>) {
        let (files, mut troubles) = source::find(places);
        for Found { path, format, .. } in files {
            self.0.entry(path).or_insert_with_key(|path| format.follow(path));
        }
        let mut newest = Newest { records: Vec::new(), max };
        for follow in self.0.values_mut() {
            troubles.extend(follow.poll(&mut |record| newest.push(record)).err());
        }
        (newest.finish(), troubles)
    }
}

/// Keeps the newest records of many.
struct Newest {
    records: Vec<Record>,
    max: usize,
}

impl Newest {
    fn push(&mut self, record: Record) {
        self.records.push(record);
        // Seldom, so that it costs little a record.
        if self.records.len() > self.max.saturating_mul(2).saturating_add(1024) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.records.sort_by_key(|record| (record.ts(), record.seq()));
        let surplus = self.records.len().saturating_sub(self.max);
        self.records.drain(..surplus);
    }

    fn finish(mut self) -> Vec<Record> {
        self.cut();
        self.records
    }
}

fn write_record(session: &mut Session<'_>, record: &Record) -> io::Result<()> {
    if session.json {
        return session.json_line(record);
    }
    let line = line(record, session.colours);
    writeln!(session.out, "{line}")
}

fn line(record: &Record, colours: Colours) -> String {
    let (ink, what, said) = match record {
        Record::Env(env) => {
            let cause = serde_json::to_value(env.cause).unwrap_or_default();
            let started = text::call(&env.source, &env.payload) + text::cut_mark(env.truncated);
            let said = format!("{} {started}", cause.as_str().unwrap_or_default());
            (Ink::Faint, "env", said)
        }
        Record::Step(step) => step_text(step),
        Record::Note(note) => (Ink::Warn, "note", note_text(&note.note)),
    };
    let when = colours.paint(Ink::Faint, text::precise_time(record.ts()));
    let mut id = format!("{:x}", record.trace_id());
    id.truncate(8);
    format!("{when} {id} {} {said}", colours.paint(ink, format!("{what:<5}")))
}

fn step_text(step: &StepRecord) -> (Ink, &'static str, String) {
    let (ink, what) = match step.status {
        tracer::Status::Enter => (Ink::Live, "enter"),
        tracer::Status::Exit => (Ink::Good, "exit"),
        tracer::Status::Error => (Ink::Bad, "error"),
    };
    let values = if step.values.is_null() { &step.meta } else { &step.values };
    let mut said = text::call(&step.node, values) + text::cut_mark(step.truncated);
    if let Some(error) = &step.error {
        said = format!("{said}: {error}");
    }
    if step.resumed {
        said.push_str(" (resumed)");
    }
    (ink, what, said)
}

fn note_text(note: &Note) -> String {
    match note {
        Note::Unwound { node, .. } => format!("{} ended with an error from below", Escaped(node)),
        Note::FlowViolation { flow, from, to } => {
            let from = from.as_deref().unwrap_or("(nothing)");
            format!("flow {} has no edge {} -> {}", Escaped(flow), Escaped(from), Escaped(to))
        }
        _ => "of an unknown kind".to_owned(),
    }
}
