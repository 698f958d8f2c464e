//! `tracer tail`: the newest records, one a line, and those that come.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tracer::tree::Escaped;
use tracer::{Note, Record, StepRecord};

use crate::args::Tail;
use crate::exit::{Exit, Failure};
use crate::output::{Colours, Ink, Progress, text};
use crate::session::Session;
use crate::source::{self, Follow, Found, Look, Missed, ReadError, total_bytes};

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Tail, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut followed = Followed { files: BTreeMap::new(), copied: session.copied, goes_on: args.follow };
    // What had gone before it began is not missed.
    let Polled { mut newest, mut missed, troubles } =
        Polled { missed: Vec::new(), ..followed.poll(&session.places, args.lines, Progress::reading) };
    let mut exit = Exit::Done;
    for trouble in &troubles {
        if newest.is_empty() {
            session.messages.error(trouble, trouble.help());
        } else {
            session.messages.warning(trouble, trouble.help());
        }
        exit = Exit::Unreadable;
    }
    if newest.is_empty() && !args.follow && exit == Exit::Done {
        session.messages.note(format!("no records in {}", session.shown_places()));
        return Ok(Exit::Nothing);
    }
    loop {
        for missed in missed {
            tell(session, &missed)?;
        }
        for record in newest {
            write_record(session, &record)?;
        }
        if !args.follow {
            return Ok(exit);
        }
        session.out.flush()?;
        thread::sleep(PAUSE);
        // What cannot be read was said once; files come and go while they are followed.
        Polled { newest, missed, .. } = followed.poll(&session.places, usize::MAX, Progress::none);
    }
}

/// The files that are followed.
struct Followed {
    files: BTreeMap<PathBuf, Box<dyn Follow>>,
    /// From a machine that stayed up.
    copied: bool,
    /// They are looked at again.
    goes_on: bool,
}

impl Followed {
    /// What came since the last time, of the records no more than the newest `max`. `begin` is told how many bytes there
    /// are.
    fn poll(&mut self, places: &[PathBuf], max: usize, begin: fn(u64) -> Progress) -> Polled {
        let (files, mut troubles) = source::find(places);
        let progress = begin(total_bytes(&files));
        let seen = |bytes| progress.advance(bytes);
        for Found { path, format, .. } in files {
            self.files.entry(path).or_insert_with_key(|path| format.follow(path, self.copied));
        }
        let mut newest = Newest { records: Vec::new(), max };
        let mut missed = Vec::new();
        for (path, follow) in &mut self.files {
            let look = Look { newest: max, since_ns: newest.since_ns(), goes_on: self.goes_on, seen: &seen };
            match follow.poll(look, &mut |record| newest.push(record)) {
                Ok(Missed { pages: 0, .. }) => {}
                Ok(of) => missed.push(MissedIn { path: path.clone(), missed: of }),
                Err(error) if error.is_passing() => {}
                Err(error) => troubles.push(error),
            }
            if !self.goes_on {
                follow.unended().into_iter().for_each(|record| newest.push(record));
            }
        }
        Polled { newest: newest.finish(), missed, troubles }
    }
}

/// What one look at the files gave.
struct Polled {
    /// Oldest first.
    newest: Vec<Record>,
    missed: Vec<MissedIn>,
    /// What could not be read.
    troubles: Vec<ReadError>,
}

/// What is missing of a file before the records that follow.
struct MissedIn {
    path: PathBuf,
    missed: Missed,
}

/// The shape of `--json`, beside that of records.
#[derive(Serialize)]
#[serde(tag = "type", rename = "missed")]
struct MissedJson<'a> {
    file: Cow<'a, str>,
    #[serde(flatten)]
    missed: Missed,
}

fn tell(session: &mut Session<'_>, MissedIn { path, missed }: &MissedIn) -> io::Result<()> {
    let (pages, records) = (text::count(missed.pages, "page"), text::count(missed.records, "record"));
    let path_text = text::path(path);
    session.messages.note(format!(
        "`{path_text}`: {pages} of up to {records} written over before they could be read; the traced program is faster, \
         and a larger box keeps more"
    ));
    if session.json {
        session.json_line(&MissedJson { file: path.to_string_lossy(), missed: *missed })?;
    }
    Ok(())
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

    /// None before that is among them.
    fn since_ns(&mut self) -> u64 {
        if self.records.len() < self.max {
            return 0;
        }
        self.cut();
        self.records.first().map_or(0, Record::ts)
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
