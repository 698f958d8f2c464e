//! Recorders for tests.

use std::sync::Arc;

use tracer::{Lane, Memory, Record, Recorder, Times, TraceId};

/// A recorder that the test keeps a hold of: what it says is not mixed with what the process lost elsewhere.
#[derive(Clone)]
pub struct Kept<R>(pub Arc<R>);

impl<R> Kept<R> {
    pub fn new(recorder: R) -> Self {
        Self(Arc::new(recorder))
    }
}

/// Memory of `bytes`.
pub fn memory(bytes: usize) -> Kept<Memory> {
    Kept::new(Memory::new(bytes))
}

impl<R: Recorder> Recorder for Kept<R> {
    fn start(&self, times: &Times) {
        self.0.start(times);
    }

    fn lane(&self) -> Box<dyn Lane> {
        self.0.lane()
    }

    fn records(&self, of: Option<TraceId>, times: &Times) -> Vec<Record> {
        self.0.records(of, times)
    }

    fn holds(&self, trace: TraceId) -> bool {
        self.0.holds(trace)
    }

    fn running(&self) -> Vec<TraceId> {
        self.0.running()
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    fn flush(&self) {
        self.0.flush();
    }
}
