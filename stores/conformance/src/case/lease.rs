//! Leases: who may write, and what becomes of attempts whose worker is gone.

use std::time::Duration;

use tracer::execution::{
    AttemptEnd, Beat, Command, ExecutionStatus as S, ExecutionStore, Failure, Lease, Progress, Swept, Timestamp, Write,
};

use super::code;
use crate::bed::{Bed, LEASE, SECOND};

const MS: Duration = Duration::from_millis(1);

async fn sweep<T: ExecutionStore + 'static>(bed: &Bed<T>) -> Swept {
    bed.manager.tick().await.expect("the store answers")
}

pub(crate) async fn only_the_holder_may_write<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new).await;
    let (id, lease) = (&held.id, held.token());
    assert_eq!((held.status, held.attempts, held.epoch), (S::Running, 1, 1));
    let terms = held.lease.clone().expect("it is under a lease");
    assert_eq!((terms.worker.as_str(), terms.until), ("worker", Timestamp::now(&bed.clock).after(LEASE)));
    assert_eq!(bed.get(id).await, held);

    let manager = &bed.manager;
    for code in [
        code(manager.complete(id, 1).await),
        code(manager.fail(id, Failure::new("no")).await),
        code(manager.update_progress(id, Progress::new(1, 2)).await),
        code(manager.checkpoint(id, "key", 1).await),
    ] {
        assert_eq!(code, "LEASE_LOST");
    }
    assert_eq!(code(manager.start(id).await), "INVALID_STATE_TRANSITION");
    assert_eq!(code(manager.delete(id).await), "INVALID_STATE_TRANSITION");
    assert_eq!(bed.get(id).await, held);

    let holder = manager.under(&lease);
    holder.update_progress(id, Progress::new(1, 2)).await.unwrap();
    holder.checkpoint(id, "key", 1).await.unwrap();
    let done = holder.complete(id, "done").await.unwrap();
    assert_eq!((done.status, done.lease), (S::Completed, None));
}

pub(crate) async fn a_stale_holder_changes_nothing<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let stale = bed.claimed_with(|new| new.max_attempts(3)).await.token();
    bed.clock.advance(LEASE);
    assert_eq!(sweep(&bed).await.retried, 1);
    for again in [false, true] {
        if again {
            let current = bed.claim_this(&stale.id).await;
            assert_eq!((current.epoch, current.attempts), (2, 2));
        }
        let before = bed.get(&stale.id).await;
        let (id, holder) = (&stale.id, bed.manager.under(&stale));
        for code in [
            code(holder.complete(id, 1).await),
            code(holder.fail(id, Failure::new("no").retryable(true)).await),
            code(holder.update_progress(id, Progress::new(1, 2)).await),
            code(holder.checkpoint(id, "key", 1).await),
            code(holder.cancel(id, None).await),
            code(holder.timeout(id).await),
        ] {
            assert_eq!(code, "LEASE_LOST");
        }
        assert_eq!(bed.manager.heartbeat(&[stale], LEASE).await.unwrap(), [Beat::Lost]);
        assert_eq!(bed.get(id).await, before);
        if again {
            assert_eq!(code(holder.release(id, SECOND).await), "LEASE_LOST");
            let settled = bed.manager.settle(vec![Write::under(stale, Command::Complete { result: 1.into() })]).await;
            assert_eq!(settled.unwrap()[0].as_ref().unwrap_err().code(), "LEASE_LOST");
            assert_eq!(bed.get(id).await, before);
        }
    }
}

pub(crate) async fn a_lost_lease_is_another_attempt<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let lost = bed.claimed_with(|new| new.max_attempts(2)).await;
    bed.manager.under(&lost.token()).checkpoint(&lost.id, "row", 7).await.unwrap();
    bed.clock.advance(LEASE - MS);
    assert_eq!(sweep(&bed).await, Swept { next_due: Some(MS), ..Swept::default() });
    assert_eq!(bed.get(&lost.id).await.status, S::Running);
    bed.clock.advance(MS);
    assert_eq!(sweep(&bed).await, Swept { retried: 1, ..Swept::default() });
    let retrying = bed.get(&lost.id).await;
    assert_eq!((retrying.status, retrying.attempts, &retrying.lease), (S::Retrying, 1, &None));
    assert_eq!(retrying.error.as_ref().and_then(|error| error.code.as_deref()), Some("LEASE_LOST"));
    let again = bed.claim_this(&lost.id).await;
    assert_eq!((again.attempts, again.epoch, &again.checkpoints["row"]), (2, 2, &7.into()));
}

pub(crate) async fn the_last_lost_lease_is_a_failure<T: ExecutionStore + 'static>(bed: Bed<T>) {
    // A poison job: whoever takes it, dies of it.
    let id = bed.create_with(|new| new.max_attempts(3)).await.id;
    for _ in 0..3 {
        bed.claim_this(&id).await;
        bed.clock.advance(LEASE);
        assert_eq!(sweep(&bed).await.total(), 1);
    }
    let failed = bed.get(&id).await;
    assert_eq!((failed.status, failed.attempts), (S::Failed, 3));
    assert_eq!(failed.error.and_then(|error| error.code).as_deref(), Some("LEASE_LOST"));
    assert_eq!(failed.completed_at, Some(Timestamp::now(&bed.clock)));
    assert!(bed.claim(1).await.is_empty());
    assert_eq!(code(bed.manager.retry(&id).await), "MAX_RETRIES_EXCEEDED");
}

pub(crate) async fn heartbeats_keep_a_lease<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let one = bed.claimed_with(|new| new).await.token();
    let other = bed.claimed_with(|new| new).await.token();
    let unheld = bed.create().await.token();
    let unknown = Lease { id: "ex_0123456789abcdef0123456789abcdef".parse().unwrap(), epoch: 1 };
    for _ in 0..3 {
        bed.clock.advance(LEASE - MS);
        let beats = bed.manager.heartbeat(&[unknown, one, unheld], LEASE).await.unwrap();
        assert_eq!(beats, [Beat::Lost, Beat::Held, Beat::Lost]);
    }
    let terms = bed.get(&one.id).await.lease.expect("it is held");
    assert_eq!(terms.until, Timestamp::now(&bed.clock).after(LEASE));
    assert_eq!(sweep(&bed).await.total(), 1, "the other one was not kept");
    assert_eq!(bed.get(&other.id).await.status, S::Failed);
    assert!(bed.manager.under(&one).complete(&one.id, 1).await.is_ok());
    assert_eq!(bed.manager.heartbeat(&[one], LEASE).await.unwrap(), [Beat::Lost]);
    assert!(bed.manager.heartbeat(&[], LEASE).await.unwrap().is_empty());
}

pub(crate) async fn the_end_of_an_attempt_can_be_repeated<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let ends = [
        Command::Complete { result: "done".into() },
        Command::Fail { failure: Failure::new("no"), random: 1 },
        Command::Fail { failure: Failure::new("no").retryable(true), random: 1 },
        Command::Fail {
            failure: Failure::new("no").retryable(true).retry_after(Duration::from_micros(1_234_567)),
            random: 1,
        },
        Command::Cancel { reason: None },
        Command::Release { delay: SECOND },
        Command::TimeOut,
        Command::Overtime { random: 1 },
    ];
    for end in &ends {
        let held = bed.claimed_with(|new| new.max_attempts(2)).await;
        let write = Write::under(held.token(), end.clone());
        let first = bed.store().update(vec![write.clone()]).await.unwrap().remove(0).unwrap();
        bed.clock.advance(SECOND);
        let again = bed.store().update(vec![write.clone()]).await.unwrap().remove(0);
        assert_eq!(again, Ok(first.clone()), "{end:?}");
        assert_eq!(bed.store().settle(vec![write]).await.unwrap(), [Ok(())], "{end:?}");
        assert_eq!(bed.get(&held.id).await, first);
        // Another end is not its repetition.
        let other = Write::under(held.token(), Command::Complete { result: "something else".into() });
        let refused = bed.store().update(vec![other]).await.unwrap().remove(0);
        assert_eq!(refused.unwrap_err().code(), "LEASE_LOST", "{end:?}");
        assert_eq!(bed.get(&held.id).await, first);
    }
}

pub(crate) async fn a_release_does_not_count<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new).await;
    let id = &held.id;
    let released = bed.manager.under(&held.token()).release(id, SECOND).await.unwrap();
    assert_eq!((released.status, released.attempts, released.epoch), (S::Retrying, 0, 1));
    assert!(bed.claim(1).await.is_empty(), "not at once");
    bed.clock.advance(SECOND);
    let again = bed.claim_this(id).await;
    assert_eq!((again.attempts, again.epoch), (1, 2));
    assert_eq!(code(bed.manager.under(&held.token()).complete(id, 1).await), "LEASE_LOST");
}

pub(crate) async fn an_attempt_that_was_swept_cannot_be_given_back<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for late in [Command::Release { delay: SECOND }, Command::Overtime { random: 1 }] {
        let held = bed.claimed_with(|new| new.max_attempts(2)).await;
        bed.clock.advance(LEASE);
        assert_eq!(sweep(&bed).await.retried, 1);
        let swept = bed.get(&held.id).await;
        assert_eq!((swept.status, swept.attempts), (S::Retrying, 1));
        let answer = bed.store().update(vec![Write::under(held.token(), late.clone())]).await.unwrap().remove(0);
        assert_eq!(answer.unwrap_err().code(), "LEASE_LOST", "{late:?}");
        assert_eq!(bed.get(&held.id).await, swept);
    }
}

pub(crate) async fn cancelling_reaches_the_holder<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new.max_attempts(3)).await;
    let (id, lease) = (&held.id, held.token());
    let asked = bed.manager.cancel(id, Some("too dear")).await.unwrap();
    assert_eq!((asked.status, asked.cancel_requested), (S::Running, true));
    assert_eq!(bed.manager.cancel(id, Some("again")).await.unwrap(), asked, "the first reason stays");
    assert_eq!(bed.manager.heartbeat(&[lease], LEASE).await.unwrap(), [Beat::CancelRequested]);
    let cancelled = bed.manager.under(&lease).cancel(id, Some("as asked")).await.unwrap();
    assert_eq!((cancelled.status, cancelled.cancel_requested), (S::Cancelled, false));
    assert_eq!(cancelled.metadata["cancellationReason"], "too dear");

    // A completion that comes first wins; a failure, even one that could be retried, is the cancellation, and so is a
    // timeout by whoever.
    let held = bed.claimed_with(|new| new.max_attempts(3)).await;
    bed.manager.cancel(&held.id, None).await.unwrap();
    let said = bed.manager.cancel(&held.id, Some("fraud")).await.unwrap();
    assert_eq!(said.metadata["cancellationReason"], "fraud", "the first that is one");
    let said = bed.manager.cancel(&held.id, Some("another")).await.unwrap();
    assert_eq!(said.metadata["cancellationReason"], "fraud");
    let done = bed.manager.under(&held.token()).complete(&held.id, 1).await.unwrap();
    assert_eq!((done.status, done.cancel_requested), (S::Completed, false));
    let held = bed.claimed_with(|new| new.max_attempts(3)).await;
    bed.manager.cancel(&held.id, None).await.unwrap();
    let failure = Failure::new("stopped").retryable(true);
    let failed = bed.manager.under(&held.token()).fail(&held.id, failure).await.unwrap();
    assert_eq!(failed.status, S::Cancelled);
    let held = bed.claimed_with(|new| new.max_attempts(3)).await;
    bed.manager.cancel(&held.id, None).await.unwrap();
    assert_eq!(bed.manager.timeout(&held.id).await.unwrap().status, S::Cancelled);
}

pub(crate) async fn a_lost_holder_cannot_prevent_cancelling<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new.max_attempts(3)).await;
    bed.manager.cancel(&held.id, Some("why")).await.unwrap();
    bed.clock.advance(LEASE);
    assert_eq!(sweep(&bed).await, Swept { cancelled: 1, ..Swept::default() });
    let cancelled = bed.get(&held.id).await;
    assert_eq!((cancelled.status, &cancelled.metadata["cancellationReason"]), (S::Cancelled, &"why".into()));
}

pub(crate) async fn attempts_that_take_too_long_are_timed_out<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new.timeout(SECOND * 40).max_attempts(2)).await;
    let by_hand = bed.create_with(|new| new.timeout(SECOND * 40)).await.id;
    bed.manager.start(&by_hand).await.unwrap();
    bed.clock.advance(SECOND * 20);
    assert_eq!(sweep(&bed).await, Swept { next_due: Some(SECOND * 10), ..Swept::default() });
    assert_eq!(bed.manager.heartbeat(&[held.token()], LEASE).await.unwrap(), [Beat::Held]);
    assert_eq!(sweep(&bed).await, Swept { next_due: Some(SECOND * 20), ..Swept::default() });
    // Heartbeats do not help.
    bed.clock.advance(SECOND * 20);
    bed.manager.heartbeat(&[held.token()], LEASE).await.unwrap();
    assert_eq!(sweep(&bed).await, Swept { retried: 1, timed_out: 1, ..Swept::default() });
    let now = Timestamp::now(&bed.clock);
    let timed_out = bed.get(&by_hand).await;
    assert_eq!((timed_out.status, timed_out.completed_at), (S::TimedOut, Some(now)));
    // One that has an attempt left is tried again by itself, after the wait between attempts.
    let again = bed.get(&held.id).await;
    assert_eq!((again.status, &again.lease, again.completed_at), (S::Retrying, &None, None));
    assert_eq!(again.error.as_ref().and_then(|error| error.code.as_deref()), Some(Failure::TIMED_OUT));
    assert!(again.run_at >= now.after(again.retry.base), "{again:?}");
    for execution in [&timed_out, &again] {
        let attempt = execution.history.last().unwrap();
        assert_eq!((attempt.end, attempt.ended_at), (Some(AttemptEnd::TimedOut), Some(now)));
    }
    assert_eq!(code(bed.manager.under(&held.token()).complete(&held.id, 1).await), "LEASE_LOST");
    bed.clock.advance(again.run_at.since(now));
    let last = bed.claim_this(&held.id).await;
    // Its holder may see that first.
    bed.clock.advance(SECOND * 40);
    let overtime = Write::under(last.token(), Command::Overtime { random: 7 });
    let timed_out = bed.store().update(vec![overtime]).await.unwrap().remove(0).unwrap();
    assert_eq!((timed_out.status, timed_out.attempts), (S::TimedOut, 2));
    assert_eq!(code(bed.manager.retry(&held.id).await), "MAX_RETRIES_EXCEEDED");
    // Somebody who watches may do it, too.
    let watched = bed.claimed_with(|new| new).await;
    assert_eq!(bed.manager.timeout(&watched.id).await.unwrap().status, S::TimedOut);
}

pub(crate) async fn a_sweep_has_a_limit_and_says_when_to_come_again<T: ExecutionStore + 'static>(bed: Bed<T>) {
    assert_eq!(bed.store().sweep(5).await.unwrap(), Swept::default());
    for _ in 0..5 {
        bed.claimed_with(|new| new.max_attempts(2)).await;
        bed.clock.advance(SECOND);
    }
    bed.clock.advance(LEASE - SECOND * 2);
    assert_eq!(bed.store().sweep(0).await.unwrap(), Swept { next_due: Some(Duration::ZERO), ..Swept::default() });
    let swept = bed.store().sweep(3).await.unwrap();
    assert_eq!(swept, Swept { retried: 3, next_due: Some(Duration::ZERO), ..Swept::default() });
    let swept = bed.store().sweep(3).await.unwrap();
    assert_eq!(swept, Swept { retried: 1, next_due: Some(SECOND), ..Swept::default() });
    bed.clock.advance(SECOND);
    assert_eq!(bed.store().sweep(3).await.unwrap(), Swept { retried: 1, ..Swept::default() });
}

pub(crate) async fn late_is_not_lost<T: ExecutionStore + 'static>(bed: Bed<T>) {
    // The lease is over, but nobody has taken the execution over: its work is not thrown away.
    let held = bed.claimed_with(|new| new).await;
    bed.clock.advance(LEASE * 2);
    let done = bed.manager.under(&held.token()).complete(&held.id, "late").await.unwrap();
    assert_eq!(done.status, S::Completed);
    assert_eq!(sweep(&bed).await, Swept::default());
}
