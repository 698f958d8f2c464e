//! Whoever waits is woken by what others write. Each test has a server of its own: it counts what is said there.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::{FutureExt as _, StreamExt as _};

use super::*;

/// Longer than any test may take.
const NEVER: Duration = Duration::from_secs(3600);
/// What a hint takes, with much to spare on a busy machine.
const SOON: Duration = Duration::from_secs(5);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes soon")
}

fn is_pending<F: Future>(future: Pin<&mut F>) -> bool {
    matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

async fn store(client: &Client) -> RedisStore {
    RedisStore::connect(client.clone(), "hint").await.unwrap()
}

/// How often it was said since this was asked last.
async fn said(client: &Client) -> impl AsyncFnMut() -> u128 {
    let mut listening = client.get_async_pubsub().await.unwrap();
    listening.subscribe("tracer:{hint}:due").await.unwrap();
    let (mut sink, mut messages) = listening.split();
    async move || {
        // What was said is there when a later question is answered.
        sink.ping::<redis::Value>().await.unwrap();
        std::iter::from_fn(|| messages.next().now_or_never()).count() as u128
    }
}

/// Until it listens, and has said so twice.
async fn listens(waits: &RedisStore) {
    soon(waits.wake()).await;
    soon(waits.wake()).await;
}

#[test]
fn whoever_waits_elsewhere_is_woken_by_what_becomes_due() {
    let server = servers::redis(Place::new(), &["--save", ""]);
    run(async {
        let client = server::ready(&server).await;
        let (waits, manager) = (store(&client).await, ExecutionManager::new(store(&client).await));
        listens(&waits).await;

        let mut woken = pin!(waits.wake());
        assert!(is_pending(woken.as_mut()));
        manager.create(NewExecution::new("work")).await.unwrap();
        soon(woken).await;
        // What is written when it was said just now is found by a second look.
        let second = waits.wake();
        manager.create(NewExecution::new("work")).await.unwrap();
        soon(second).await;
    });
}

#[test]
fn a_listener_whose_connection_is_lost_listens_again() {
    let server = servers::redis(Place::new(), &["--save", ""]);
    run(async {
        let client = server::ready(&server).await;
        let (waits, manager) = (store(&client).await, ExecutionManager::new(store(&client).await));
        let mut other = connection(&client).await;
        for _ in 0..3 {
            listens(&waits).await;
            let mut woken = pin!(waits.wake());
            assert!(is_pending(woken.as_mut()));
            manager.create(NewExecution::new("work")).await.unwrap();
            soon(woken).await;
            // Its second look is over, too.
            soon(waits.wake()).await;
            let killed: u32 =
                redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query_async(&mut other).await.unwrap();
            assert_eq!(killed, 1);
        }
    });
}

#[test]
fn it_is_said_seldom_and_only_when_something_is_due() {
    let server = servers::redis(Place::new(), &["--save", ""]);
    run(async {
        let client = server::ready(&server).await;
        let manager = ExecutionManager::new(store(&client).await);
        let mut said = said(&client).await;
        manager.create(NewExecution::new("work").delay(NEVER)).await.unwrap();
        assert_eq!(said().await, 0);
        let begun = tokio::time::Instant::now();
        for _ in 0..100 {
            manager.create(NewExecution::new("work")).await.unwrap();
        }
        let at_most = begun.elapsed().as_millis() / 50 + 1;
        let said = said().await;
        assert!((1..=at_most).contains(&said), "{said} times, and {at_most} are allowed");
        assert!(at_most < 100, "it was too slow to tell");
    });
}

#[test]
fn what_comes_to_wait_is_said_and_nothing_else_is() {
    let server = servers::redis(Place::new(), &["--save", ""]);
    run(async {
        let client = server::ready(&server).await;
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        // One that has said nothing yet.
        let fresh = async || ExecutionManager::new(store(&client).await.with_clock(clock.clone()));
        let mut said = said(&client).await;
        fresh().await.create(NewExecution::new("work").max_attempts(2)).await.unwrap();
        assert_eq!(said().await, 1);
        let claimed = fresh().await.claim(claim(1)).await.unwrap().remove(0);
        let (id, lease) = (claimed.id, claimed.token());
        fresh().await.under(&lease).checkpoint(&id, "row", 7).await.unwrap();
        assert_eq!(said().await, 0);
        fresh().await.under(&lease).release(&id, Duration::ZERO).await.unwrap();
        assert_eq!(said().await, 1);
        let lease = fresh().await.claim(claim(1)).await.unwrap().remove(0).token();
        fresh().await.under(&lease).fail(&id, Failure::new("no")).await.unwrap();
        assert_eq!(said().await, 0);
        fresh().await.redrive(&id).await.unwrap();
        assert_eq!(said().await, 1);
        fresh().await.claim(claim(1)).await.unwrap().remove(0);
        clock.advance(Duration::from_secs(31));
        assert_eq!(fresh().await.tick().await.unwrap().total(), 1);
        assert_eq!(said().await, 1);
    });
}
