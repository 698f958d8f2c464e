//! What was claimed together, begun by as many tasks as the runtime has threads.
//!
//! What ends with its first poll needs no task of its own, which would cost more than a small handler does. What does not
//! keeps the task that polled it, and another one goes on with the rest. So a handler that computes for long holds up the
//! thread that it is on and nothing else: the others take what waits.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use std::vec;

use tokio::runtime::Handle;

/// How long anything waits for one of these tasks. All of them may be held up while the runtime has threads to spare, by
/// handlers that block in place; or have ended, by a panic that nothing caught.
const WAIT_MAX: Duration = Duration::from_millis(5);

struct Batch<T, R> {
    waiting: Mutex<vec::IntoIter<T>>,
    run: R,
}

impl<T, R> Batch<T, R> {
    fn next(&self) -> Option<T> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// Runs each of these, on the runtime of the calling task.
pub(crate) fn begin<T, R, F>(each: Vec<T>, run: R)
where
    T: Send + 'static,
    R: Fn(T) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let threads = Handle::current().metrics().num_workers();
    let (len, tasks) = (each.len(), each.len().min(threads));
    let batch = Arc::new(Batch { waiting: Mutex::new(each.into_iter()), run });
    for _ in 0..tasks {
        tokio::spawn(poll_each(batch.clone()));
    }
    if len > tasks {
        tokio::spawn(async move {
            tokio::time::sleep(WAIT_MAX).await;
            while let Some(one) = batch.next() {
                tokio::spawn((batch.run)(one));
            }
        });
    }
}

async fn poll_each<T, R, F>(batch: Arc<Batch<T, R>>)
where
    T: Send + 'static,
    R: Fn(T) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    while let Some(one) = batch.next() {
        let mut running = pin!((batch.run)(one));
        if poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx).is_pending())).await {
            // The task is its own now: what it waits for knows no other.
            tokio::spawn(boxed(batch.clone()));
            return running.await;
        }
        give_way().await;
    }
}

/// A task begins others of its kind.
fn boxed<T, R, F>(batch: Arc<Batch<T, R>>) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    T: Send + 'static,
    R: Fn(T) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    Box::pin(poll_each(batch))
}

/// Lets those have their turn that others would not take from this thread: what was woken last waits there for whoever
/// runs. Without a look at timers and input, which tokio's own way takes each time.
async fn give_way() {
    let mut is_over = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::runtime::Builder;
    use tokio::task::{block_in_place, yield_now};

    use super::*;

    /// How many have come, and whoever waits for some.
    #[derive(Default)]
    struct Count(Mutex<usize>, Condvar);

    impl Count {
        fn one_more(&self) {
            *self.0.lock().unwrap() += 1;
            self.1.notify_all();
        }

        /// Blocks; whether there are so many in the end.
        fn reaches(&self, wanted: usize) -> bool {
            let waited =
                self.1.wait_timeout_while(self.0.lock().unwrap(), Duration::from_secs(10), |now| *now < wanted);
            *waited.unwrap().0 >= wanted
        }
    }

    #[test]
    fn one_that_computes_for_long_holds_up_no_other_while_there_is_a_thread() {
        // Without a timer: nobody comes after a while to help.
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (others, all) = (Arc::new(Count::default()), Arc::new(Count::default()));
        runtime.spawn({
            let (others, all) = (others.clone(), all.clone());
            async move {
                begin((0..100).collect(), move |number| {
                    let (others, all) = (others.clone(), all.clone());
                    async move {
                        if number == 0 {
                            assert!(others.reaches(99));
                        } else {
                            others.one_more();
                        }
                        all.one_more();
                    }
                });
            }
        });
        assert!(all.reaches(100));
        assert!(others.reaches(99));
    }

    #[test]
    fn those_that_block_in_place_hold_up_no_other() {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let count = Arc::new(Count::default());
        let all = count.clone();
        runtime.spawn(async move {
            begin(vec![(); 10], move |()| {
                let count = count.clone();
                async move {
                    count.one_more();
                    assert!(block_in_place(|| count.reaches(10)));
                }
            });
        });
        assert!(all.reaches(10));
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_along() {
        let done = Arc::new(tokio::sync::Semaphore::new(0));
        begin((0..10).collect(), {
            let done = done.clone();
            move |number| {
                let done = done.clone();
                async move {
                    assert!(number > 0, "as it is to");
                    done.add_permits(1);
                }
            }
        });
        let nine = tokio::time::timeout(Duration::from_secs(10), done.acquire_many(9)).await;
        assert_eq!(nine.expect("they come").unwrap().num_permits(), 9);
    }

    /// A thread keeps what was woken last to itself.
    #[test]
    fn what_one_has_woken_runs_before_the_next() {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (woken, all) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (wake, wakes) = tokio::sync::oneshot::channel();
        let wake = Mutex::new(Some(wake));
        runtime.spawn({
            let woken = woken.clone();
            async move {
                wakes.await.unwrap();
                woken.one_more();
            }
        });
        let ends = all.clone();
        runtime.spawn(async move {
            // The other waits by now.
            yield_now().await;
            begin(vec![(); 2], move |()| {
                let first = wake.lock().unwrap().take();
                let (woken, all) = (woken.clone(), ends.clone());
                async move {
                    match first {
                        Some(wake) => wake.send(()).unwrap(),
                        None => assert!(woken.reaches(1)),
                    }
                    all.one_more();
                }
            });
        });
        assert!(all.reaches(2));
    }

    #[test]
    fn one_that_waits_is_not_held_up_by_one_that_computes() {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        // Either thread may take either.
        for _ in 0..100 {
            let (waited, all) = (Arc::new(Count::default()), Arc::new(Count::default()));
            let ends = all.clone();
            runtime.spawn(async move {
                begin(vec![true, false], move |waits| {
                    let (waited, all) = (waited.clone(), ends.clone());
                    async move {
                        if waits {
                            give_way().await;
                            waited.one_more();
                        } else {
                            assert!(waited.reaches(1));
                        }
                        all.one_more();
                    }
                });
            });
            assert!(all.reaches(2));
        }
    }

    #[tokio::test]
    async fn other_tasks_have_their_turn_in_between() {
        let done = Arc::new(AtomicUsize::new(0));
        begin(vec![(); 1000], {
            let done = done.clone();
            move |()| {
                let done = done.clone();
                async move { _ = done.fetch_add(1, Ordering::Relaxed) }
            }
        });
        yield_now().await;
        assert!((1..1000).contains(&done.load(Ordering::Relaxed)), "{done:?}");
    }

    #[tokio::test]
    async fn those_that_wait_do_so_in_tasks_of_their_own() {
        let (started, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let done = Arc::new(tokio::sync::Semaphore::new(0));
        begin(vec![(); 10], {
            let (started, go_on, done) = (started.clone(), go_on.clone(), done.clone());
            move |()| {
                let (started, go_on, done) = (started.clone(), go_on.clone(), done.clone());
                async move {
                    started.fetch_add(1, Ordering::Relaxed);
                    go_on.acquire().await.unwrap().forget();
                    done.add_permits(1);
                }
            }
        });
        yield_now().await;
        assert_eq!(started.load(Ordering::Relaxed), 10);
        go_on.add_permits(10);
        _ = done.acquire_many(10).await.unwrap();
    }
}
