//! The verbs, one file each.

pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod ls;
pub(crate) mod recover;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod tail;

use serde::Serialize;
use serde_json::Value;

use crate::output::text;
use crate::source::{Ended, OpenNode, Writer};

/// Said of a trace that only its resumption is known of.
const NO_RECORD: &str = "no record of it is left, only that it was resumed";

/// An open node as JSON shows it.
#[derive(Serialize)]
struct OpenJson<'a> {
    trace_id: tracer::TraceId,
    node: &'a str,
    since_ns: String,
    arguments: &'a Value,
    truncated: bool,
}

impl<'a> From<&'a OpenNode> for OpenJson<'a> {
    fn from(open: &'a OpenNode) -> Self {
        Self {
            trace_id: open.trace_id,
            node: &open.node,
            since_ns: open.since_ns.to_string(),
            arguments: &open.arguments,
            truncated: open.truncated,
        }
    }
}

/// A process as JSON shows it, or nothing of one.
#[derive(Default, Serialize)]
struct WriterJson<'a> {
    process: Option<&'a str>,
    app: Option<&'a str>,
    pid: Option<u32>,
    death: Option<&'a str>,
    ended: Option<&'a Ended>,
    alive: bool,
}

impl<'a> From<&'a Writer> for WriterJson<'a> {
    fn from(writer: &'a Writer) -> Self {
        Self {
            process: Some(&writer.process),
            app: Some(&writer.app),
            pid: Some(writer.pid),
            death: Some(&writer.death),
            ended: Some(&writer.ended),
            alive: writer.is_alive,
        }
    }
}

/// A process in one line: `orders 1.2.0, pid 4711: killed`.
fn writer_line(Writer { process, death, .. }: &Writer) -> String {
    format!("{process}: {death}")
}

/// An open node in one line: `charge(order={"id":7}) since 2026-01-02T03:04:05.678901Z`.
fn open_line(open: &OpenNode) -> String {
    format!("{} since {}", open_call(open), text::precise_time(open.since_ns))
}

/// An open node with its values, and whether they are all.
fn open_call(open: &OpenNode) -> String {
    text::call(&open.node, &open.arguments) + text::cut_mark(open.truncated)
}
