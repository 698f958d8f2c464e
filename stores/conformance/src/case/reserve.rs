//! Reservations, which are no attempts yet.

use std::future::Future;

use tracer::ManualClock;
use tracer::execution::{
    AttemptEnd, Beat, Claim, Command, Execution, ExecutionStatus as S, ExecutionStore, Failure, NewExecution, Progress,
    Timestamp, Write,
};

use super::code;
use crate::bed::{self, Bed, LEASE, SECOND, claim_of, skip};

/// Whether the store reserves what it is asked to.
///
/// # Panics
///
/// If it claims instead.
pub fn it_reserves<F: Future<Output = T>, T: ExecutionStore + 'static>(setup: impl Fn(ManualClock) -> F) {
    bed::run(setup, |bed| async move { assert!(reserved(&bed, |new| new).await.is_some(), "it claims") });
}

/// A new one, reserved; `None` if the store claims instead.
async fn reserved<T: ExecutionStore + 'static>(
    bed: &Bed<T>,
    set: impl FnOnce(NewExecution) -> NewExecution,
) -> Option<Execution> {
    let id = bed.create_with(set).await.id;
    let claim = Claim { only: Some(id), ..claim_of(&[], 1) };
    let reserved = bed.manager.reserve(claim).await.unwrap().pop().expect("it is due");
    assert_eq!(bed.get(&id).await, reserved);
    if !reserved.reserved {
        skip(bed.store().capabilities().name, "claims what it is to reserve");
    }
    Some(reserved).filter(|reserved| reserved.reserved)
}

/// As if nothing had been.
fn is_untouched(execution: &Execution) -> bool {
    (execution.attempts, &execution.error, execution.started_at) == (0, &None, None) && execution.history.is_empty()
}

pub(crate) async fn what_is_reserved_is_no_attempt_until_it_begins<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let Some(held) = reserved(&bed, |new| new.max_attempts(1).timeout(5 * SECOND)).await else { return };
    let (id, lease) = (&held.id, held.token());
    assert_eq!((held.status, held.epoch), (S::Running, 1));
    assert!(is_untouched(&held));
    let terms = held.lease.as_ref().expect("it has a lease");
    assert_eq!((&*terms.worker, terms.until), ("worker", Timestamp::now(&bed.clock).after(LEASE)));
    assert!(bed.claim(1).await.is_empty(), "it is somebody's");
    // No time allowed runs, and the lease is one as others.
    bed.clock.advance(20 * SECOND);
    assert_eq!(bed.manager.heartbeat(&[lease], LEASE).await.unwrap(), [Beat::Held]);
    bed.clock.advance(20 * SECOND);
    assert_eq!(bed.manager.tick().await.unwrap().total(), 0);
    let now = Timestamp::now(&bed.clock);
    let kept = bed.get(id).await;
    assert!(kept.reserved && is_untouched(&kept));

    let begun = bed.manager.under(&lease).begin(id).await.unwrap();
    assert_eq!((begun.status, begun.attempts, begun.epoch, begun.reserved), (S::Running, 1, 1, false));
    assert_eq!((begun.started_at, begun.version), (Some(now), kept.version + 1));
    assert_eq!(begun.history.len(), 1);
    assert_eq!((begun.history[0].worker.as_deref(), begun.history[0].started_at), (Some("worker"), now));
    assert_eq!(bed.get(id).await, begun);
    assert_eq!(bed.manager.under(&lease).begin(id).await.unwrap(), begun, "once more");
    bed.clock.advance(5 * SECOND);
    assert_eq!(bed.manager.tick().await.unwrap().timed_out, 1, "now its time runs");
    assert_eq!(code(bed.manager.under(&lease).begin(id).await), "LEASE_LOST");

    // Nor does that of an attempt before it.
    let id = &bed.create_with(|new| new.max_attempts(2).timeout(5 * SECOND)).await.id;
    bed.manager.start(id).await.unwrap();
    bed.clock.advance(SECOND);
    bed.manager.fail(id, Failure::new("no").retryable(true).retry_after(SECOND)).await.unwrap();
    bed.clock.advance(3600 * SECOND);
    let held = bed.manager.reserve(Claim { only: Some(*id), ..claim_of(&[], 1) }).await.unwrap().remove(0);
    bed.clock.advance(SECOND);
    assert_eq!(bed.manager.tick().await.unwrap().total(), 0);
    // It is its holder's to begin, and given back, it is as it was.
    let begin = Write::new(held.id, Command::Begin);
    assert_eq!(bed.store().update(vec![begin]).await.unwrap().remove(0).unwrap_err().code(), "LEASE_LOST");
    let released = bed.manager.under(&held.token()).release(id, SECOND).await.unwrap();
    assert_eq!((released.attempts, released.history.len()), (1, 1));
    assert_eq!((released.history[0].end, released.history[0].epoch), (Some(AttemptEnd::Failed), 1));

    // What was claimed has begun.
    let claimed = bed.claimed_with(|new| new).await;
    assert_eq!(bed.manager.under(&claimed.token()).begin(&claimed.id).await.unwrap(), claimed);
}

pub(crate) async fn a_lost_reservation_is_as_if_it_had_not_been<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let Some(held) = reserved(&bed, |new| new.max_attempts(1)).await else { return };
    bed.clock.advance(LEASE);
    let swept = bed.manager.tick().await.unwrap();
    assert_eq!((swept.retried, swept.failed), (1, 0));
    let lost = bed.get(&held.id).await;
    assert_eq!((lost.status, &lost.lease, lost.reserved, lost.run_at), (S::Retrying, &None, false, held.run_at));
    assert!(is_untouched(&lost));
    for late in [Command::Begin, Command::Complete { result: 1.into() }] {
        let answer = bed.store().update(vec![Write::under(held.token(), late)]).await.unwrap().remove(0);
        assert_eq!(answer.unwrap_err().code(), "LEASE_LOST");
    }
    let again = bed.claim_this(&held.id).await;
    assert_eq!((again.attempts, again.epoch), (1, 2), "at once, and it is the first");

    // What has begun counts.
    let Some(held) = reserved(&bed, |new| new.max_attempts(1)).await else { return };
    bed.manager.under(&held.token()).begin(&held.id).await.unwrap();
    bed.clock.advance(LEASE);
    bed.manager.tick().await.unwrap();
    let lost = bed.get(&held.id).await;
    let why = lost.error.and_then(|error| error.code);
    assert_eq!((lost.status, lost.attempts, why.as_deref()), (S::Failed, 1, Some(Failure::LEASE_LOST)));
}

pub(crate) async fn a_reservation_can_be_given_back<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let Some(held) = reserved(&bed, |new| new.max_attempts(1)).await else { return };
    let (id, lease) = (&held.id, held.token());
    bed.clock.advance(SECOND);
    let released = bed.manager.under(&lease).release(id, std::time::Duration::ZERO).await.unwrap();
    assert_eq!((released.status, released.run_at), (S::Retrying, held.run_at), "where it was");
    assert!(is_untouched(&released));
    assert_eq!(bed.manager.under(&lease).release(id, std::time::Duration::ZERO).await.unwrap(), released, "once more");

    let Some(held) = reserved(&bed, |new| new).await else { return };
    let released = bed.manager.under(&held.token()).release(&held.id, SECOND).await.unwrap();
    assert_eq!(released.run_at, Timestamp::now(&bed.clock).after(SECOND));
    let claim = Claim { only: Some(held.id), ..claim_of(&[], 1) };
    assert!(bed.manager.reserve(claim.clone()).await.unwrap().is_empty(), "not at once");
    bed.clock.advance(SECOND);
    let again = bed.manager.reserve(claim).await.unwrap().remove(0);
    assert_eq!(again.epoch, 2);
    assert!(is_untouched(&again));
}

pub(crate) async fn a_reservation_can_be_called_off<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for by_holder in [false, true] {
        let Some(held) = reserved(&bed, |new| new).await else { return };
        let (id, lease) = (&held.id, held.token());
        let cancelled = if by_holder {
            bed.manager.under(&lease).cancel(id, Some("too late")).await.unwrap()
        } else {
            bed.manager.cancel(id, Some("too late")).await.unwrap()
        };
        // At once: nobody has to stop.
        assert_eq!((cancelled.status, cancelled.cancel_requested, cancelled.reserved), (S::Cancelled, false, false));
        assert_eq!(cancelled.metadata["cancellationReason"], "too late");
        assert!(is_untouched(&cancelled));
        assert_eq!(bed.get(id).await, cancelled);
        assert_eq!(bed.manager.heartbeat(&[lease], LEASE).await.unwrap(), [Beat::Lost]);
        assert_eq!(code(bed.manager.under(&lease).begin(id).await), "LEASE_LOST");
        bed.clock.advance(LEASE);
        assert_eq!(bed.manager.tick().await.unwrap().total(), 0);
    }
    // Nor has anybody taken too long.
    let Some(held) = reserved(&bed, |new| new).await else { return };
    let late = bed.manager.timeout(&held.id).await.unwrap();
    assert_eq!((late.status, late.reserved), (S::TimedOut, false));
    assert!(is_untouched(&late));
}

pub(crate) async fn whoever_ends_a_reservation_has_begun_it<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let failure = Failure::new("no").retryable(true);
    let ends = [
        (Command::Complete { result: 1.into() }, S::Completed, AttemptEnd::Completed),
        (Command::Fail { failure, random: 1 }, S::Failed, AttemptEnd::Failed),
        (Command::Overtime { random: 1 }, S::TimedOut, AttemptEnd::TimedOut),
        (Command::TimeOut, S::TimedOut, AttemptEnd::TimedOut),
    ];
    for (end, status, how) in ends {
        let Some(held) = reserved(&bed, |new| new.max_attempts(1)).await else { return };
        let write = Write::under(held.token(), end);
        assert_eq!(bed.store().settle(vec![write.clone()]).await.unwrap(), [Ok(())]);
        let ended = bed.get(&held.id).await;
        assert_eq!((ended.status, ended.attempts, ended.reserved), (status, 1, false));
        assert_eq!((ended.history.len(), ended.history[0].end), (1, Some(how)));
    }

    let Some(held) = reserved(&bed, |new| new).await else { return };
    let under = bed.manager.under(&held.token());
    assert_eq!(code(under.update_progress(&held.id, Progress::new(2, 1)).await), "INVALID_PROGRESS");
    assert_eq!(bed.get(&held.id).await, held, "what is refused changes nothing");
    let begun = under.update_progress(&held.id, Progress::new(1, 2)).await.unwrap();
    assert_eq!((begun.attempts, begun.reserved, begun.history.len()), (1, false, 1));
    let Some(held) = reserved(&bed, |new| new).await else { return };
    let begun = bed.manager.under(&held.token()).checkpoint(&held.id, "key", 1).await.unwrap();
    assert_eq!((begun.attempts, begun.reserved, begun.version), (1, false, held.version + 1));
}

pub(crate) async fn one_alone_can_be_reserved<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let Some(held) = reserved(&bed, |new| new).await else { return };
    let only = |id, types: &[&str], limit| Claim { only: Some(id), ..claim_of(types, limit) };
    let waits = bed.create_with(|new| new.delay(SECOND)).await.id;
    let other = bed.create().await.id;
    for claim in [only(held.id, &[], 1), only(waits, &[], 1), only(other, &["another"], 1), only(other, &[], 0)] {
        assert_eq!(bed.manager.reserve(claim.clone()).await.unwrap(), [], "{claim:?}");
    }
    assert_eq!(bed.manager.reserve(only(other, &["another", "work"], 9)).await.unwrap().len(), 1);
}

pub(crate) async fn a_reservation_is_of_one<T: ExecutionStore + 'static>(bed: Bed<T>) {
    const COUNT: usize = 24;
    let Some(_) = reserved(&bed, |new| new).await else { return };
    let mut created = Vec::new();
    for number in 0..COUNT {
        created.push(bed.create_with(|new| new.priority(i16::from(number >= COUNT / 2))).await.id);
    }
    // In the order of claims.
    created.rotate_left(COUNT / 2);
    let some = bed.manager.reserve(claim_of(&["work"], 4)).await.unwrap();
    assert_eq!(some.iter().map(|one| one.id).collect::<Vec<_>>(), created[..4]);
    let all = bed.at_once(6, |bed, number| async move {
        let mut taken = Vec::new();
        // Others may be at all that is left, for a moment.
        for _ in 0..100 {
            let claim = claim_of(if number % 2 == 0 { &["work"] } else { &[] }, 3);
            let some = match number % 3 {
                0 => bed.manager.claim(claim).await.unwrap(),
                _ => bed.manager.reserve(claim).await.unwrap(),
            };
            taken.extend(some.into_iter().map(|one| (one.id, one.reserved, number % 3 != 0)));
        }
        taken
    });
    let mut taken: Vec<_> = all.await.into_iter().flatten().collect();
    assert!(taken.iter().all(|(_, reserved, wanted)| reserved == wanted));
    taken.sort_unstable();
    let mut left = created.split_off(4);
    left.sort_unstable();
    assert_eq!(taken.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), left);
}
