//! Futures side by side, each in a fork of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Runs futures side by side in the calling task, each in a forked env, and gives a tuple of what they give.
///
/// As `join!` of other crates, with [`branch`](crate::branch) around every arm: the trace has the same shape whatever
/// the order of the polls. Up to eight arms; it awaits by itself.
///
/// ```
/// # use tracer::traced_node;
/// #[traced_node]
/// async fn price() -> u32 { 7 }
/// #[traced_node]
/// async fn stock() -> u32 { 3 }
///
/// # async fn run() {
/// let (price, stock) = tracer::join!(price(), stock());
/// # }
/// ```
#[macro_export]
macro_rules! join {
    ($($future:expr),+ $(,)?) => {
        $crate::__private::Join::join(($($crate::branch($future),)+)).await
    };
}

/// A tuple of futures.
pub trait Join {
    /// A tuple of what they give.
    type Output;

    /// Runs them side by side.
    fn join(self) -> impl Future<Output = Self::Output>;
}

pin_project! {
    #[project = Stage]
    enum Arm<F: Future> {
        Running { #[pin] future: F },
        Done { output: Option<F::Output> },
    }
}

impl<F: Future> Arm<F> {
    /// `true`: it is done.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        if let Stage::Running { future } = self.as_mut().project() {
            match future.poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(output) => self.set(Self::Done { output: Some(output) }),
            }
        }
        true
    }

    fn take(self: Pin<&mut Self>) -> F::Output {
        let output = match self.project() {
            Stage::Done { output } => output.take(),
            Stage::Running { .. } => None,
        };
        output.expect("taken once, after all are done")
    }
}

macro_rules! tuples {
    ($(($($arm:ident)+))+) => {$(
        impl<$($arm: Future),+> Join for ($($arm,)+) {
            type Output = ($($arm::Output,)+);

            #[expect(non_snake_case, reason = "an arm is named as its type")]
            async fn join(self) -> Self::Output {
                let ($($arm,)+) = self;
                $(let mut $arm = pin!(Arm::Running { future: $arm });)+
                poll_fn(|cx| {
                    let mut done = true;
                    $(done &= $arm.as_mut().poll(cx);)+
                    if done { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                ($($arm.take(),)+)
            }
        }
    )+};
}

tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}
