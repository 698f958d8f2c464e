//! The automatic API.

use std::future::Future;
use std::pin::Pin;
use std::task;

use pin_project_lite::pin_project;

use crate::context::Context;
use crate::outcome::Outcome;
use crate::site::Site;
use crate::values::Recorded;

/// A call in progress. Dropped without [`end`](Self::end): a panic while unwinding, else a success.
#[derive(Debug)]
pub struct OpenFrame {}

impl OpenFrame {
    /// Ends the call.
    pub fn end(self, outcome: Outcome) {
        let _ = outcome;
    }
}

/// Enters `site` at `at`, or at the surrounding context.
#[inline(never)]
pub fn enter(site: &'static Site, at: Option<&Context>, values: Recorded) -> OpenFrame {
    let _ = (site.id(), at, values);
    OpenFrame {}
}

pin_project! {
    /// A traced future: entered at its first poll.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Traced<F, J> {
        #[pin]
        future: Option<F>,
        judge: Option<J>,
    }
}

/// Wraps the future of one call; `judge` says how its output counts.
pub fn traced<F: Future, J: FnOnce(&F::Output) -> Outcome>(
    site: &'static Site,
    at: Option<&Context>,
    values: Recorded,
    future: F,
    judge: J,
) -> Traced<F, J> {
    let _ = (site.id(), at, values);
    Traced { future: Some(future), judge: Some(judge) }
}

impl<F: Future, J: FnOnce(&F::Output) -> Outcome> Future for Traced<F, J> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<F::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else { return task::Poll::Pending };
        let output = task::ready!(future.poll(cx));
        if let Some(judge) = this.judge.take() {
            judge(&output);
        }
        task::Poll::Ready(output)
    }
}
