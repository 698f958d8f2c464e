//! Executions as items.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::types::AttributeValue;
use tracer::execution::{Cursor, Execution, ExecutionId, Parts, Timestamp};

use crate::trouble::Problem;

/// DynamoDB's limit for an item, names of attributes included.
pub(crate) const ITEM_LEN_BYTES_MAX: usize = 400 * 1024;
/// What an item has besides values that are the caller's.
const OVERHEAD_LEN_BYTES: usize = 4096;
/// What is left for one value if the others are small.
pub(crate) const VALUE_LEN_BYTES_MAX: usize = ITEM_LEN_BYTES_MAX - OVERHEAD_LEN_BYTES;

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
    payload_len: usize,
    /// Or why it is none.
    pub(crate) execution: Result<Execution, Box<dyn Error + Send + Sync>>,
}

impl Read {
    pub(crate) fn of(item: &Item) -> Result<Self, Problem> {
        let id = text(item, "pk").and_then(|pk| pk.strip_prefix("execution#")?.parse().ok());
        let id = id.ok_or_else(|| Problem::corrupt("an item is no execution"))?;
        let parts = Parts {
            body: text(item, "body").unwrap_or_default(),
            payload: text(item, "payload"),
            result: text(item, "result"),
            checkpoints: text(item, "checkpoints"),
        };
        let payload_len = parts.payload.map_or(0, str::len);
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
            payload_len,
        })
    }
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

/// Any, but never the same twice.
pub(crate) fn mark() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Of one width, so that texts sort as instants do.
pub(crate) fn instant(at: Timestamp) -> String {
    format!("{:016x}", at.unix_ms())
}

/// Sorts as cursors do.
pub(crate) fn place(cursor: Cursor) -> String {
    format!("{}{:x}", instant(cursor.created_at()), cursor.id())
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
    let Parts { body, result, checkpoints, .. } = Parts::without_payload(execution);
    vec![
        ("status", Some(s(execution.status.as_str()))),
        ("due_type", due_type),
        ("due_at", due_at),
        ("running", sweep_at.is_some().then(|| s("running"))),
        ("sweep_at", sweep_at),
        ("body", Some(s(body))),
        ("result", result.map(s)),
        ("checkpoints", checkpoints.map(s)),
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
    check(item.values().map(len).sum())?;
    Ok(item)
}

/// Whether an item that was read may have these values.
pub(crate) fn check_changed(read: &Read, values: &[(&'static str, Option<AttributeValue>)]) -> Result<(), Problem> {
    let changed: usize = values.iter().filter_map(|(_, value)| value.as_ref()).map(len).sum();
    check(changed + read.payload_len)
}

fn check(len: usize) -> Result<(), Problem> {
    // The names of attributes, the numbers, the mark and what is the same in all.
    let found = len + 512;
    if found > ITEM_LEN_BYTES_MAX { Err(Problem::too_large(found)) } else { Ok(()) }
}

fn len(value: &AttributeValue) -> usize {
    value.as_s().map_or(8, String::len)
}
