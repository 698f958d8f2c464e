//! The work that is traced: as little as possible.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use serde::Serialize;

/// What every function does.
#[inline]
pub fn step(x: u64) -> u64 {
    black_box(x).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The struct that is recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Order {
    /// A number.
    pub id: u64,
    /// A text.
    pub customer: String,
    /// A fraction.
    pub total: f64,
    /// A small number.
    pub items: u32,
    /// A flag.
    pub paid: bool,
}

/// One such struct.
pub fn order() -> Order {
    Order { id: 4711, customer: "cus_9s6XKzkNRiz8i3".to_owned(), total: 129.95, items: 3, paid: true }
}

/// Ready at the second poll.
#[derive(Debug, Default)]
pub struct Suspension(bool);

impl Future for Suspension {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Polls until it is ready. As with any executor, the compiler does not know what is polled.
#[inline]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let future = pin!(future);
    let mut future: Pin<&mut dyn Future<Output = F::Output>> = black_box(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
