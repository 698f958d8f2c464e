//! The trace of an attempt at an execution, and how nodes find the attempt that they are in.

use std::sync::Arc;

use super::branch::Pinned;
use super::line::{Opened, Said};
use super::scope;
use crate::execution::{Attempt, Execution};
use crate::flow::Standing;
use crate::ordinal;
use crate::record::Cause;
use crate::recorder::{EnvEvent, put_root};
use crate::site::Site;

/// Begins the trace of the attempt that `execution` is in; `None` from a thread that records nothing any more.
pub(crate) fn begin(execution: &Execution, attempt: &Arc<Attempt>) -> Option<Pinned> {
    super::panics::watch();
    scope::with(|scope| {
        let id = execution.token().trace_id();
        let trace = scope.new_trace_of(attempt, id, &execution.type_);
        let (env, ordinal) = (execution.token().env_id(), trace.next_ordinal());
        let mut event = EnvEvent {
            ticks: 0,
            seq: 0,
            env,
            trace: id,
            cause: Cause::Root,
            parent: None,
            site: 0,
            fork: 0,
            is_main: true,
            lacks_payload: false,
        };
        let put = |detail: &mut Vec<u8>| put_root(detail, id, &execution.type_, &execution.latest_attempt().captured());
        let (seq, said) = scope.output(&trace.tracer, |out| {
            out.env_with_bytes(&mut event, put);
            (event.seq, Said::of(event, true, out.piece()))
        });
        trace.set_stepped();
        let opened = Opened {
            id: env,
            ordinal,
            ordinals_from: ordinal::from(),
            said,
            seq,
            fork: None,
            flows: Standing::default(),
            ancestry: None,
        };
        let cell = scope.begin_opened(&trace, opened);
        Pinned::of_held(scope, cell)
    })
}

/// The attempt that the calling code is in, and the structural key of the call of `site` that it is; no key if that call
/// is not recorded.
pub(crate) fn here(site: &'static Site) -> Option<(Arc<Attempt>, Option<u64>)> {
    scope::with(|scope| {
        let here = scope.here()?;
        let attempt = here.cell.trace()?.attempt.clone()?;
        let key =
            here.frame.and_then(|frame| scope.with_line(here.cell, |line, _, _| line.key_of(frame, site)).flatten());
        Some((attempt, key))
    })
    .flatten()
}
