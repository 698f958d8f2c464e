//! Executions as items.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::types::AttributeValue;
use tracer::execution::{Cursor, Execution, ExecutionId, Parts, Timestamp};

use crate::table::SWEEP;
use crate::trouble::Problem;

/// DynamoDB's limit for an item, names of attributes included.
pub(crate) const ITEM_LEN_BYTES_MAX: usize = 400 * 1024;
/// What is kept free for what attempts add by themselves: who has run them, how they ended. Without it, one that its caller
/// has filled could neither be claimed nor ended, and would be in the way of the others for ever.
const ROOM_LEN_BYTES: usize = 32 * 1024;
/// What callers may fill.
const FILLED_LEN_BYTES_MAX: usize = ITEM_LEN_BYTES_MAX - ROOM_LEN_BYTES;
/// Texts that are no longer than this do not count as filling.
const MESSAGE_LEN_BYTES_USUAL: usize = 1024;
/// What an item has besides values that are the caller's.
const OVERHEAD_LEN_BYTES: usize = 4096;
/// What is left for one value if the others are small.
pub(crate) const VALUE_LEN_BYTES_MAX: usize = FILLED_LEN_BYTES_MAX - OVERHEAD_LEN_BYTES;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// An execution, and which writing of it that is.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) id: ExecutionId,
    pub(crate) revision: String,
    /// What marks the latest writing.
    pub(crate) mark: String,
    pub(crate) status: String,
    pub(crate) key: Option<String>,
    /// Where its checkpoints are, if it has kept any.
    pub(crate) kept: Option<String>,
    /// How long what is there and never changes is: the payload, and checkpoints of version 1.
    fixed_len: usize,
    /// Or why it is none.
    pub(crate) execution: Result<Execution, Box<dyn Error + Send + Sync>>,
}

impl Read {
    /// An item, and the checkpoints that it has kept, if they are wanted.
    pub(crate) fn of(item: &Item, kept: &[String]) -> Result<Self, Problem> {
        let id = text(item, "pk").and_then(|pk| pk.strip_prefix("execution#")?.parse().ok());
        let id = id.ok_or_else(|| Problem::corrupt("an item is no execution"))?;
        let (payload, old) = (text(item, "payload"), text(item, "checkpoints"));
        let checkpoints = all_checkpoints(old, kept);
        let parts = Parts {
            body: text(item, "body").unwrap_or_default(),
            payload,
            result: text(item, "result"),
            checkpoints: checkpoints.as_deref(),
        };
        let fixed_len = payload.map_or(0, str::len) + old.map_or(0, str::len);
        let owned = |name| text(item, name).unwrap_or_default().to_owned();
        let revision = number(item, "revision").unwrap_or_default().to_owned();
        let execution = if revision.is_empty() {
            Err(format!("{id} has no revision").into())
        } else {
            parts.join(id).map_err(Into::into)
        };
        Ok(Self {
            id,
            revision,
            execution,
            mark: owned("mark"),
            status: owned("status"),
            key: text(item, "key").map(str::to_owned),
            kept: text(item, "kept").map(str::to_owned),
            fixed_len,
        })
    }
}

/// One text: what version 1 has kept in the item, which is never written again, then what was kept since, each `key:value`.
/// Of two with one key the later counts.
fn all_checkpoints(old: Option<&str>, kept: &[String]) -> Option<String> {
    if kept.is_empty() {
        return old.map(str::to_owned);
    }
    let old = old.unwrap_or("{}").strip_suffix('}').unwrap_or("none");
    let comma = if old.len() > 1 { "," } else { "" };
    Some(format!("{old}{comma}{}}}", kept.join(",")))
}

pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(crate) fn number<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_n().ok().map(String::as_str)
}

pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number, as it is written.
pub(crate) fn n(number: &str) -> AttributeValue {
    AttributeValue::N(number.to_owned())
}

/// The key of an execution.
pub(crate) fn pk(id: ExecutionId) -> AttributeValue {
    s(format!("execution#{id:x}"))
}

/// The key of an idempotency key.
pub(crate) fn key_pk(key: &str) -> AttributeValue {
    s(format!("key#{key}"))
}

/// The key of what tells of checkpoints whose execution is gone.
pub(crate) fn gone_pk(kept: &str) -> AttributeValue {
    s(format!("gone#{kept}"))
}

/// The attribute by which sweeps find them.
pub(crate) const GONE: &str = "gone";

/// What tells of them, until they are deleted, too.
pub(crate) fn gone(kept: &str) -> Item {
    let attributes = [("pk", gone_pk(kept)), (SWEEP.of, s(GONE)), (SWEEP.order, s(kept))];
    attributes.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Any, but never the same twice: not by a copy of this process that was forked, either.
pub(crate) fn mark() -> String {
    let half = || getrandom::u64().unwrap_or_else(|_| fastrand::u64(..));
    format!("{:016x}{:016x}", half(), half())
}

/// Of one width, so that texts sort as instants do.
pub(crate) fn instant(at: Timestamp) -> String {
    format!("{:016x}", at.unix_ms())
}

/// Sorts as cursors do.
pub(crate) fn place(cursor: Cursor) -> String {
    format!("{}{:x}", instant(cursor.created_at()), cursor.id())
}

/// What has this place; nothing, if it is none.
pub(crate) fn cursor(place: &str) -> Option<Cursor> {
    let (created_at, id) = place.split_at_checked(16)?;
    let created_at = Timestamp::from_unix_ms(u64::from_str_radix(created_at, 16).ok()?);
    Some(Cursor::new(created_at, id.parse().ok()?))
}

/// How long what [`urgency`] gives is.
pub(crate) const URGENCY_LEN: usize = 5;

/// Sorts the highest priority first.
pub(crate) fn urgency(priority: i16) -> String {
    format!("{:0URGENCY_LEN$}", i32::from(i16::MAX) - i32::from(priority))
}

/// The attributes of an execution that change; none is what is not to be there.
pub(crate) fn changing(execution: &Execution) -> Vec<(&'static str, Option<AttributeValue>)> {
    let is_waiting = execution.status.is_waiting();
    let due = || {
        let place = place(Cursor::of(execution));
        format!("{}{}{place}", urgency(execution.priority), instant(execution.run_at))
    };
    let due_at = is_waiting.then(due).map(s);
    let due_type = is_waiting.then(|| s(&execution.type_));
    let sweep_at = execution.sweep_at().map(|at| s(format!("{}{:x}", instant(at), execution.id)));
    let Parts { body, result, .. } = Parts::without_payload(execution);
    vec![
        ("status", Some(s(execution.status.as_str()))),
        ("due_type", due_type),
        ("due_at", due_at),
        ("running", sweep_at.is_some().then(|| s("running"))),
        ("sweep_at", sweep_at),
        ("body", Some(s(body))),
        ("result", result.map(s)),
    ]
}

/// A new item.
pub(crate) fn new(execution: &Execution, mark: &str) -> Result<Item, Problem> {
    let Parts { payload, .. } = Parts::of(execution);
    let mut item: Item =
        changing(execution).into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let mut set = |name: &str, value| drop(item.insert(name.to_owned(), value));
    set("pk", pk(execution.id));
    set("all", s("all"));
    set("place", s(place(Cursor::of(execution))));
    set("revision", n("1"));
    set("mark", s(mark));
    if let Some(payload) = payload {
        set("payload", s(payload));
    }
    if let Some(key) = &execution.idempotency_key {
        set("key", s(key));
    }
    if let Some(parent) = execution.parent_id {
        set("parent", s(format!("{parent:x}")));
    }
    check(item.values().map(len).sum(), FILLED_LEN_BYTES_MAX)?;
    Ok(item)
}

/// Whether an item that was read may have these values, which are those of `execution`.
pub(crate) fn check_changed(
    read: &Read,
    execution: &Execution,
    values: &[(&'static str, Option<AttributeValue>)],
) -> Result<(), Problem> {
    let changed: usize = values.iter().filter_map(|(_, value)| value.as_ref()).map(len).sum();
    let is_filled = read.execution.as_ref().is_ok_and(|before| is_filled_by_caller(before, execution));
    check(changed + read.fixed_len, if is_filled { FILLED_LEN_BYTES_MAX } else { ITEM_LEN_BYTES_MAX })
}

/// Whether it has got more of what is the caller's.
fn is_filled_by_caller(before: &Execution, after: &Execution) -> bool {
    let error_len = |execution: &Execution| execution.error.as_ref().map_or(0, |error| error.message.len());
    let progress_len = |execution: &Execution| {
        let progress = execution.progress.as_ref().and_then(|progress| progress.message.as_ref());
        progress.map_or(0, String::len)
    };
    let has_grown = |len: &dyn Fn(&Execution) -> usize| len(after) > len(before).max(MESSAGE_LEN_BYTES_USUAL);
    after.result != before.result
        || after.metadata != before.metadata
        || has_grown(&error_len)
        || has_grown(&progress_len)
}

fn check(len: usize, limit: usize) -> Result<(), Problem> {
    // The names of attributes, the numbers, the mark and what is the same in all.
    let found = len + 512;
    if found > limit { Err(Problem::too_large(found, limit)) } else { Ok(()) }
}

fn len(value: &AttributeValue) -> usize {
    value.as_s().map_or(8, String::len)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracer::execution::{
        Applied, Command, ExecutionManager, ExecutionStatus, HISTORY_LEN_MAX, Lease, MemoryStore, NewExecution,
        Progress, Write,
    };

    use super::*;

    /// An execution as it is written, or why it is not.
    struct Written(Execution);

    impl Written {
        fn change(&mut self, change: impl FnOnce(&mut Execution) -> Applied) -> Result<(), Problem> {
            let before = self.0.clone();
            let mut after = before.clone();
            assert_eq!(change(&mut after), Applied::Changed);
            let fixed_len = Parts::of(&before).payload.map_or(0, |payload| payload.len());
            let (revision, mark, status) = <(String, String, String)>::default();
            let (key, kept) = (None, None);
            let read = Read { id: before.id, revision, mark, status, key, kept, fixed_len, execution: Ok(before) };
            check_changed(&read, &after, &changing(&after))?;
            self.0 = after;
            Ok(())
        }

        fn write(&mut self, command: Command) -> Result<(), Problem> {
            let write = Write::new(self.0.id, command);
            let write = match self.0.lease {
                Some(_) => Write::under(Lease { id: self.0.id, epoch: self.0.epoch }, write.command),
                None => write,
            };
            self.change(|execution| write.apply(execution, execution.updated_at).unwrap())
        }

        fn start(&mut self) {
            let holder = Some(("w".repeat(255).into(), Duration::from_secs(1)));
            self.write(Command::Start { holder }).unwrap();
        }

        /// All attempts that are left are lost.
        fn lose_all(&mut self) {
            while self.0.status != ExecutionStatus::Failed {
                if self.0.status != ExecutionStatus::Running {
                    self.start();
                }
                let later = self.0.updated_at.after(Duration::from_secs(2));
                self.change(|execution| execution.sweep(later)).unwrap();
            }
        }
    }

    #[test]
    fn what_callers_have_filled_can_still_be_claimed_and_ended() {
        let manager = ExecutionManager::new(MemoryStore::default());
        let attempts = u32::try_from(HISTORY_LEN_MAX).unwrap() + 3;
        let create = |len: usize| {
            let new = NewExecution::new("work").payload("x".repeat(len)).max_attempts(attempts);
            let execution = manager.prepare(new).unwrap().at(Timestamp::from_unix_ms(1_790_000_000_000));
            self::new(&execution, &mark()).map(|_| Written(execution))
        };
        // By the payload, but for a few bytes.
        let mut full = (0..FILLED_LEN_BYTES_MAX).rev().step_by(16).find_map(|len| create(len).ok()).unwrap();
        full.lose_all();
        // By what it says of its progress, a little more each time.
        let mut full = create(VALUE_LEN_BYTES_MAX - 5000).unwrap();
        full.start();
        let progress = |number: usize| Command::Progress(Progress::new(1, 2).message("x".repeat(1000 + 50 * number)));
        let refused = (0..1000).find(|number| full.write(progress(*number)).is_err());
        assert!(refused.is_some_and(|number| number > 50), "{refused:?}");
        full.lose_all();
    }
}
