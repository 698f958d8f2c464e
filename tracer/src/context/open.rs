//! What is open in an env of the manual API, in the table that outlives the process.
//!
//! An env has a place there while a node is open in it, and somebody has a context to go on with.

use crate::lines::{Opened, Trace};
use crate::recorder::block::{self, Block, Entered};
use crate::tracer::Tracer;

/// The nodes that are open in an env.
#[derive(Debug, Default)]
pub(super) struct OpenNodes {
    /// In the order in which they were entered.
    all: Vec<Entered>,
    /// Contexts by which the env goes on.
    contexts: usize,
    place: Place,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    None,
    Lent(&'static Block),
    /// There was no block to be had.
    Outside,
}

impl OpenNodes {
    /// There is another context.
    pub(super) fn come(&mut self, env: &Opened, trace: &Trace) {
        self.contexts += 1;
        self.show(0, env, trace);
    }

    /// There is one less.
    pub(super) fn go(&mut self, tracer: &Tracer) {
        self.contexts = self.contexts.saturating_sub(1);
        if self.contexts == 0 {
            self.hide(tracer);
        }
    }

    pub(super) fn enter(&mut self, entered: Entered, env: &Opened, trace: &Trace) {
        self.all.push(entered);
        self.show(self.all.len() - 1, env, trace);
    }

    /// Ends the node that a step has entered.
    pub(super) fn end(&mut self, step: u64, env: &Opened, trace: &Trace) {
        if let Some(at) = self.all.iter().position(|entered| entered.step == step) {
            self.all.remove(at);
            self.show(at, env, trace);
        }
    }

    /// Nothing comes any more.
    pub(super) fn end_all(&mut self, tracer: &Tracer) {
        self.all.clear();
        self.hide(tracer);
    }

    /// Those before `from` are as they were.
    fn show(&mut self, from: usize, env: &Opened, trace: &Trace) {
        if self.all.is_empty() || self.contexts == 0 {
            return self.hide(&trace.tracer);
        }
        if matches!(self.place, Place::None) {
            self.place = trace.tracer.block().map_or(Place::Outside, Place::Lent);
            match self.place {
                Place::Lent(block) => block.begin_by_hand(trace.id, env.id),
                _ => trace.tracer.begin_outside(),
            }
        }
        if let Place::Lent(block) = self.place {
            block.show(&self.all, from, env.ordinal);
        }
    }

    fn hide(&mut self, tracer: &Tracer) {
        match std::mem::take(&mut self.place) {
            Place::None => {}
            Place::Lent(block) => {
                block.publish(block::ENV, 0);
                tracer.free(block);
            }
            Place::Outside => tracer.end_outside(),
        }
    }
}
