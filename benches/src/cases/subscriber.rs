//! tracing, with subscribers that do more and more.

use std::cell::RefCell;
use std::hint::black_box;

use tracing::span::{Attributes, Id};
use tracing::{Subscriber, instrument};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::floor::tick;
use super::{Case, Group, below, in_roots};
use crate::work::{Order, Suspension, block_on, order, step};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(Group::Sync, "tracing, no subscriber", |n| in_roots(n, 1000, batch)),
        Case::new(Group::Sync, "tracing, Registry + no-op layer", |n| in_roots(n, 1000, batch)).prepared(nothing),
        Case::new(Group::Sync, "tracing, Registry + thread-local Vec", |n| in_roots(n, 1000, batch)).prepared(records),
        Case::new(Group::Async, "tracing, no subscriber", |n| in_roots(n, 1000, batch_of_futures)),
        Case::new(Group::Async, "tracing, Registry + no-op layer", |n| in_roots(n, 1000, batch_of_futures))
            .prepared(nothing),
        Case::new(Group::Async, "tracing, Registry + thread-local Vec", |n| in_roots(n, 1000, batch_of_futures))
            .prepared(records),
        Case::new(Group::Recorded, "tracing, fmt layer, Debug", |n| {
            let order = order();
            in_roots(n, 1000, |nodes| batch_of_orders(nodes, &order));
        })
        .prepared(fmt),
    ]
}

pub(super) fn install(subscriber: impl Subscriber + Send + Sync) {
    tracing::subscriber::set_global_default(subscriber).expect("a process runs one case");
}

/// Asks for everything and keeps nothing.
struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {}

fn nothing() {
    install(tracing_subscriber::registry().with(Nothing));
}

/// Keeps the beginning and the end of each span, with its parent and its name: the least that is a trace.
struct Records;

struct Record {
    _span: u64,
    _parent: u64,
    _name: &'static str,
    _tick: u64,
}

const RECORDS_MAX: usize = 1 << 16;

thread_local! {
    static RECORDS: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

fn keep(record: Record) {
    RECORDS.with_borrow_mut(|records| {
        if records.len() == RECORDS_MAX {
            black_box(&records).len();
            records.clear();
        }
        records.push(record);
    });
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Records {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent()).map_or(0, |parent| parent.id().into_u64());
        let name = attributes.metadata().name();
        keep(Record { _span: id.into_u64(), _parent: parent, _name: name, _tick: tick() });
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        keep(Record { _span: id.into_u64(), _parent: 0, _name: "", _tick: tick() });
    }
}

fn records() {
    install(tracing_subscriber::registry().with(Records));
}

fn fmt() {
    install(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
}

#[inline(never)]
#[instrument(skip_all)]
pub(super) fn batch(nodes: u64) -> u64 {
    below(nodes, leaf)
}

#[inline(never)]
#[instrument(skip_all)]
fn leaf(x: u64) -> u64 {
    step(x)
}

#[inline(never)]
#[instrument(skip_all)]
pub(super) fn batch_of_futures(nodes: u64) -> u64 {
    below(nodes, |x| block_on(future(x)))
}

#[instrument(skip_all)]
async fn future(x: u64) -> u64 {
    Suspension::default().await;
    step(x)
}

#[inline(never)]
#[instrument(skip_all)]
pub(super) fn batch_of_orders(nodes: u64, order: &Order) -> u64 {
    below(nodes, |_| with_order(order))
}

#[inline(never)]
#[instrument]
fn with_order(order: &Order) -> u64 {
    step(order.id)
}
