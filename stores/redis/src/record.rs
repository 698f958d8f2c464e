//! Executions as texts: a line of what scripts have to know, then what only programs read.
//!
//! ```text
//! 3  60000 pending 0 0000018bcfe56800…0f  4 7 212 9 0
//! workorder-1{"id":…}"payload"
//! ```
//!
//! In the line, with a space between: the revision, which rises with each writing; the names of the parts that are not here,
//! each with a comma behind it: what is too large, and `kept` if there are checkpoints; the timeout in milliseconds; the
//! status, or `corrupt` if it was set aside; the priority; the place in the order of creation; the parent; how long type,
//! idempotency key, body, payload and result are. What is none is empty, or 0 long. Then the type, the key and the parts.
//!
//! Checkpoints are in a hash, so that one more costs the same however many there are. Version 2 had them here, or, if they
//! were too large, under one key, as one part more.

use std::fmt::Write as _;
use std::time::Duration;

use tracer::execution::{Applied, Command, Cursor, Execution, ExecutionId, Parts, Timestamp, Write};

use crate::store::VALUE_LEN_BYTES_MAX;
use crate::trouble::Problem;

/// A longer part has a key of its own: then it is not read by who looks for others, nor held in the way of them.
const PART_LEN_BYTES_MAX: usize = 4096;

/// The parts. The last one is that of version 2, and not written any more.
const PARTS: [&str; 4] = ["body", "payload", "result", OLD_CHECKPOINTS];
const WRITTEN: usize = 3;
const PAYLOAD: usize = 1;
const OLD_CHECKPOINTS: &str = "checkpoints";
const KEPT: &str = "kept";

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What is read of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Whole,
    /// What a change depends on: neither a payload that is too large for the text nor checkpoints.
    ToChange,
}

/// An execution as it was found.
pub(crate) struct Read {
    pub(crate) was: Was,
    /// Whether the text has all of it.
    pub(crate) is_small: bool,
    /// Or why it is none.
    pub(crate) execution: Result<Execution, AnyError>,
}

/// What was there, for who writes over it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Was {
    /// Tells this writing of it from all others: who has claimed it, or its revision if it has been written since.
    pub(crate) mark: Vec<u8>,
    pub(crate) is_waiting: bool,
    /// Whether there are checkpoints in its hash.
    has_kept: bool,
    /// Whether its checkpoints are where version 2 had them. They have to be moved before anything is written.
    pub(crate) is_old: bool,
    /// How long the payload is, if it has a key of its own. It never changes, and is not written again.
    payload_len_outside: Option<usize>,
}

/// What is written of an execution.
pub(crate) struct Text {
    pub(crate) text: String,
    /// The parts that have keys of their own, but for those that are there already: names and texts. Nothing for one that is
    /// to go.
    pub(crate) outside: Vec<(&'static str, String)>,
}

impl Read {
    /// Of who has claimed it, a text, and the parts that are not in it, in their order.
    pub(crate) fn new(
        id: ExecutionId,
        start: Option<Vec<u8>>,
        text: &[u8],
        outside: &[Option<Vec<u8>>],
        depth: Depth,
    ) -> Self {
        let head = Head::read(text);
        let has_kept = head.as_ref().is_some_and(|head| head.is_named(KEPT));
        let is_old = head.as_ref().is_some_and(|head| head.part_lens[WRITTEN] > 0);
        let payload_outside = head.as_ref().filter(|head| head.is_outside(PAYLOAD));
        let payload_len_outside = payload_outside.map(|head| head.part_lens[PAYLOAD]);
        let parts = head.filter(|head| !head.is_aside).and_then(|head| head.parts(outside, depth));
        let parts =
            parts.ok_or_else(|| format!("{id} is cut or of another form, or was set aside because it was").into());
        let execution = parts.and_then(|parts| Ok(parts.join(id)?));
        let execution =
            execution.and_then(|mut execution| match start.as_deref().map(|start| begin(&mut execution, start)) {
                None | Some(Some(())) => Ok(execution),
                Some(None) => {
                    let start = String::from_utf8_lossy(start.as_deref().unwrap_or_default());
                    Err(format!("{id} was claimed by `{start}`, which it does not allow").into())
                }
            });
        let is_waiting = execution.as_ref().is_ok_and(|execution: &Execution| execution.status.is_waiting());
        let revision = || text.split(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).next().unwrap_or_default().to_owned();
        let mark = start.unwrap_or_else(revision);
        let was = Was { mark, is_waiting, has_kept, is_old, payload_len_outside };
        Self { was, is_small: outside.is_empty(), execution }
    }

    pub(crate) fn execution(self) -> Result<Execution, Problem> {
        self.execution.map_err(Problem::Corrupt)
    }
}

/// A claim keeps the revision, when it was, for how long, with [`RESERVED`] before it if it was a reservation, and for whom.
/// What that makes of the execution is the rules' business.
fn begin(execution: &mut Execution, start: &[u8]) -> Option<()> {
    let mut words = std::str::from_utf8(start).ok()?.splitn(4, ':').skip(1);
    let now = Timestamp::from_unix_ms(words.next()?.parse().ok()?);
    let lease = words.next()?;
    let is_reserved = lease.starts_with(RESERVED);
    let (lease, worker) = (Duration::from_millis(lease.parse().ok()?), words.next()?.into());
    let command =
        if is_reserved { Command::Reserve { worker, lease } } else { Command::Start { holder: Some((worker, lease)) } };
    let start = Write::new(execution.id, command);
    let now = now.max(execution.updated_at);
    (start.apply(execution, now) == Ok(Applied::Changed)).then_some(())
}

/// What stands before the length of the lease where an execution is only reserved. For versions that do not know of that,
/// it is the same number.
pub(crate) const RESERVED: char = '0';

/// What the line says to programs.
struct Head<'t> {
    outside: &'t str,
    /// Nobody claims it any more, whatever else it says.
    is_aside: bool,
    part_lens: [usize; 4],
    /// Those that are here.
    parts: &'t [u8],
}

impl<'t> Head<'t> {
    fn read(text: &'t [u8]) -> Option<Self> {
        let line_len = text.iter().position(|byte| *byte == b'\n')?;
        let mut words = std::str::from_utf8(&text[..line_len]).ok()?.split(' ');
        let outside = words.nth(1)?;
        let is_aside = words.nth(1)? == "corrupt";
        let mut words = words.skip(3);
        let mut len = || words.next()?.parse::<usize>().ok();
        let names_len = len()?.checked_add(len()?)?;
        let part_lens = [len()?, len()?, len()?, len().unwrap_or(0)];
        let parts = text.get((line_len + 1).checked_add(names_len)?..)?;
        Some(Self { outside, is_aside, part_lens, parts })
    }

    fn is_named(&self, name: &str) -> bool {
        self.outside.split(',').any(|other| other == name)
    }

    fn is_outside(&self, part: usize) -> bool {
        self.is_named(PARTS[part])
    }

    /// The parts, if they are as long as the line says.
    fn parts(&self, outside: &'t [Option<Vec<u8>>], depth: Depth) -> Option<Parts<&'t [u8]>> {
        let (mut here, mut outside) = (self.parts, outside.iter());
        let mut part = |number: usize| {
            let len = self.part_lens[number];
            let part = if self.is_outside(number) {
                if number == PAYLOAD && depth == Depth::ToChange {
                    return Some(None);
                }
                outside.next()?.as_deref().filter(|part| part.len() == len)?
            } else {
                here.split_off(..len)?
            };
            Some(Some(part).filter(|part| !part.is_empty()))
        };
        let body = part(0)?.unwrap_or_default();
        let (payload, result, mut checkpoints) = (part(PAYLOAD)?, part(2)?, part(WRITTEN)?);
        if depth == Depth::Whole && self.is_named(KEPT) {
            checkpoints = Some(outside.next()?.as_deref()?);
        }
        here.is_empty().then_some(Parts { body, payload, result, checkpoints })
    }
}

impl Text {
    /// Of an execution that takes the place of what `was` there, if anything, with checkpoints if it `keeps` some.
    pub(crate) fn new(execution: &Execution, place: &str, was: Option<&Was>, keeps: bool) -> Result<Self, Problem> {
        let revision = was.map_or(1, Was::next_revision);
        let is_old = was.is_some_and(|was| was.is_old);
        let has_kept = keeps || is_old || was.is_some_and(|was| was.has_kept);
        let payload_len_outside = was.and_then(|was| was.payload_len_outside);
        let parts = match payload_len_outside {
            None => Parts::of(execution),
            Some(_) => Parts::without_payload(execution),
        };
        let parts: [_; WRITTEN] = [Some(parts.body), parts.payload, parts.result].map(Option::unwrap_or_default);
        if let Some(part) = parts.iter().find(|part| part.len() > VALUE_LEN_BYTES_MAX) {
            return Err(Problem::TooLarge(part.len()));
        }
        let mut lens = parts.each_ref().map(String::len);
        lens[PAYLOAD] = payload_len_outside.unwrap_or(lens[PAYLOAD]);
        let is_outside = |part: usize| lens[part] > PART_LEN_BYTES_MAX;
        let key = execution.idempotency_key.as_deref().unwrap_or_default();
        let here_len: usize = (0..WRITTEN).filter(|part| !is_outside(*part)).map(|part| lens[part]).sum();
        let mut text = String::with_capacity(HEAD_LEN_USUAL + execution.type_.len() + key.len() + here_len);
        let mut write = || {
            write!(text, "{revision} ")?;
            let outside = (0..WRITTEN).filter(|part| is_outside(*part)).map(|part| PARTS[part]);
            for name in outside.chain(has_kept.then_some(KEPT)) {
                write!(text, "{name},")?;
            }
            text.push(' ');
            if let Some(timeout) = execution.timeout {
                write!(text, "{}", timeout.as_millis())?;
            }
            let Execution { status, priority, .. } = execution;
            write!(text, " {status} {priority} {place} ")?;
            if let Some(parent) = execution.parent_id {
                write!(text, "{parent:x}")?;
            }
            write!(text, " {} {}", execution.type_.len(), key.len())?;
            for len in lens {
                write!(text, " {len}")?;
            }
            text.push('\n');
            text.write_str(&execution.type_)?;
            text.write_str(key)
        };
        write().expect("a text takes all");
        let mut outside = Vec::new();
        if is_old {
            outside.push((OLD_CHECKPOINTS, String::new()));
        }
        for (number, part) in parts.into_iter().enumerate() {
            if !is_outside(number) {
                text.push_str(&part);
            } else if !part.is_empty() {
                outside.push((PARTS[number], part));
            }
        }
        Ok(Self { text, outside })
    }
}

/// About as long as the line gets.
const HEAD_LEN_USUAL: usize = 96;

impl Was {
    fn next_revision(&self) -> u64 {
        let revision = self.mark.split(|byte| *byte == b':').next();
        let revision = revision.and_then(|revision| std::str::from_utf8(revision).ok()?.parse::<u64>().ok());
        revision.unwrap_or(0).saturating_add(1)
    }
}

/// As Redis has it: of one width, so that texts sort as ids do.
pub(crate) fn hex(id: ExecutionId) -> String {
    format!("{id:x}")
}

/// Sorts as cursors do.
pub(crate) fn place(cursor: Cursor) -> String {
    let mut place = instant(cursor.created_at());
    place.push_str(&hex(cursor.id()));
    place
}

/// What has this place; nothing, if it is none.
pub(crate) fn cursor(place: &str) -> Option<Cursor> {
    let (created_at, id) = place.split_at_checked(16)?;
    let created_at = Timestamp::from_unix_ms(u64::from_str_radix(created_at, 16).ok()?);
    Some(Cursor::new(created_at, id.parse().ok()?))
}

pub(crate) fn instant(at: Timestamp) -> String {
    format!("{:016x}", at.unix_ms())
}
