//! Bringing the file to the disk: what a loss of power leaves.

use std::io;
use std::thread;
use std::time::Duration;

use crate::shared::Shared;
use crate::status::Word;

/// More often than this no disk is asked.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// Writes all out, and says when.
pub(crate) fn sync(shared: &Shared) -> io::Result<()> {
    shared.seal_all();
    bring(shared)
}

/// Likewise, without the checks of what is complete: for ends, which must not wait for others.
pub(crate) fn bring(shared: &Shared) -> io::Result<()> {
    // Before: what comes while the disk is at work may be missing from it.
    let now = shared.unix_ns();
    shared.map.sync()?;
    shared.status.set(Word::SyncedNs, now);
    Ok(())
}

/// Does so `every` so often, on a thread of its own, until nobody has the box.
pub(crate) fn start(shared: &'static Shared, every: Duration) {
    let work = move || {
        while !shared.is_closed() {
            thread::sleep(every.max(EVERY_MIN));
            // A disk that fails shows in the time of the last success, which stands still.
            let _shown = sync(shared);
        }
    };
    if thread::Builder::new().name("tracer-sync".to_owned()).spawn(work).is_err() {
        // What the status says must be true.
        shared.status.set(Word::SyncKind, 0);
    }
}
