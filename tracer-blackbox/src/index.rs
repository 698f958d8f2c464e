//! Which traces the box still has, for who asks often: it looks at what is new, not at everything.

use std::collections::HashMap;

use tracer::TraceId;
use tracer::recorder::page::{Page, SLOT_WORDS};

/// Traces by the page that their last env is in.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By page: its birth, and how many slots were looked at.
    seen: Vec<(u64, usize)>,
    traces: HashMap<TraceId, u64>,
}

const KIND_ENV: u64 = 2;
const KIND_RESUMED: u64 = 5;

impl Index {
    /// Whether an env of the trace is in one of the pages, none of which begins anew meanwhile.
    pub(crate) fn holds(&mut self, trace: TraceId, pages: &[Page]) -> bool {
        self.look(pages);
        self.traces.contains_key(&trace)
    }

    /// Forgets all that there is.
    pub(crate) fn forget(&mut self, pages: &[Page]) {
        self.look(pages);
        self.traces.clear();
    }

    fn look(&mut self, pages: &[Page]) {
        self.seen.resize(pages.len(), (0, 0));
        let mut begun_anew = Vec::new();
        for (page, (birth, from)) in pages.iter().zip(&mut self.seen) {
            if page.birth() != *birth {
                begun_anew.push(*birth);
                (*birth, *from) = (page.birth(), 0);
            }
            let to = page.len();
            if to <= *from {
                continue;
            }
            // The last slot may have been looked at before it was full.
            let words = page.words(to);
            for words in words[*from / SLOT_WORDS * SLOT_WORDS..].chunks_exact(SLOT_WORDS) {
                if matches!(words[0] & 15, KIND_ENV | KIND_RESUMED) {
                    let trace = TraceId::new((u128::from(words[4]) << 64) | u128::from(words[5]));
                    self.traces.extend(trace.map(|trace| (trace, *birth)));
                }
            }
            *from = to.max(*from);
        }
        if !begun_anew.is_empty() {
            self.traces.retain(|_, birth| !begun_anew.contains(birth));
        }
    }
}
