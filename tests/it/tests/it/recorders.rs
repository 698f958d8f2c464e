//! Recorders for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use tracer::{Lane, Memory, Record, Recorder, Times, TraceId};

/// A recorder that the test keeps a hold of: what it says is not mixed with what the process lost elsewhere.
pub struct Kept<R>(Arc<(R, OnceLock<Times>)>);

impl<R> Clone for Kept<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Memory of `bytes`.
pub fn memory(bytes: usize) -> Kept<Memory> {
    Kept::new(Memory::new(bytes))
}

impl<R: Recorder> Kept<R> {
    pub fn new(recorder: R) -> Self {
        Self(Arc::new((recorder, OnceLock::new())))
    }

    pub fn all(&self) -> Vec<Record> {
        self.0.0.records(None, self.0.1.get().expect("it has a tracer"))
    }
}

impl<R: Recorder> Recorder for Kept<R> {
    fn start(&self, times: &Times) {
        self.0.1.set(times.clone()).ok();
        self.0.0.start(times);
    }

    fn lane(&self) -> Box<dyn Lane> {
        self.0.0.lane()
    }

    fn records(&self, of: Option<TraceId>, times: &Times) -> Vec<Record> {
        self.0.0.records(of, times)
    }

    fn holds(&self, trace: TraceId) -> bool {
        self.0.0.holds(trace)
    }

    fn running(&self) -> Vec<TraceId> {
        self.0.0.running()
    }

    fn clear(&self) {
        self.0.0.clear();
    }

    fn dropped(&self) -> u64 {
        self.0.0.dropped()
    }

    fn flush(&self) {
        self.0.0.flush();
    }
}

/// A writer whose bytes the test can read.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// The lines that are records. A line that is none is a failure.
    pub fn records(&self) -> Vec<Record> {
        let bytes = self.0.lock().unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
