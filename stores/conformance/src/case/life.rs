//! The life of an execution without leases.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tracer::execution::{
    AttemptEnd, Command, Event, Execution, ExecutionId, ExecutionStatus as S, ExecutionStore, Expected, Failure,
    HISTORY_LEN_MAX, ListOptions, Progress, RetryPolicy, Timestamp, VALUE_DEPTH_MAX, Write,
};

use super::code;
use crate::bed::{Bed, SECOND, claim_of};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An execution in this status, with attempts left unless `last`.
pub(super) async fn in_status<T: ExecutionStore + 'static>(bed: &Bed<T>, status: S, last: bool) -> Execution {
    let id = bed.create_with(|new| new.max_attempts(if last { 1 } else { 3 })).await.id;
    let manager = &bed.manager;
    if status != S::Pending {
        manager.start(&id).await.unwrap();
    }
    match status {
        S::Pending | S::Running => {}
        S::Completed => drop(manager.complete(&id, 1).await.unwrap()),
        S::Failed => drop(manager.fail(&id, Failure::new("no")).await.unwrap()),
        S::Cancelled => drop(manager.cancel(&id, None).await.unwrap()),
        S::Retrying => drop(manager.fail(&id, Failure::new("no").retryable(true)).await.unwrap()),
        S::TimedOut => drop(manager.timeout(&id).await.unwrap()),
    }
    let execution = bed.get(&id).await;
    assert_eq!(execution.status, status);
    execution
}

fn commands() -> [(Event, Command); 10] {
    let fail = |retryable| Command::Fail { failure: Failure::new("no").retryable(retryable), random: 7 };
    [
        (Event::Start, Command::Start { holder: None }),
        (Event::Complete, Command::Complete { result: 1.into() }),
        (Event::Fail { again: true }, fail(true)),
        (Event::Fail { again: false }, fail(false)),
        (Event::Release, Command::Release { delay: Duration::ZERO }),
        (Event::Cancel, Command::Cancel { reason: None }),
        (Event::Retry, Command::Retry),
        (Event::Retry, Command::Redrive),
        (Event::TimeOut, Command::TimeOut),
        (Event::Overtime, Command::Overtime { random: 7 }),
    ]
}

pub(crate) async fn every_command_in_every_status_is_as_the_table_says<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for status in S::ALL {
        for (event, command) in commands() {
            let before = in_status(&bed, status, false).await;
            bed.clock.advance(SECOND);
            let now = Timestamp::now(&bed.clock);
            let outcome = bed.store().update(vec![Write::new(before.id, command)]).await.unwrap().remove(0);
            let after = bed.get(&before.id).await;
            if let Some(next) = status.next(event) {
                assert_eq!(outcome.as_ref(), Ok(&after));
                assert_eq!(after.status, next, "{status}, {event:?}");
                let changed = next != status;
                assert_eq!(after.version, before.version + u64::from(changed));
                assert_eq!(after.updated_at, if changed { now } else { before.updated_at });
                assert_eq!(after.completed_at, next.is_terminal().then_some(now), "{status}, {event:?}");
            } else {
                assert_eq!(outcome.unwrap_err().code(), "INVALID_STATE_TRANSITION", "{status}, {event:?}");
                assert_eq!(after, before, "{status}, {event:?}");
            }
        }
        // Progress and checkpoints are for attempts under way.
        let before = in_status(&bed, status, false).await;
        let progress = bed.manager.update_progress(&before.id, Progress::new(1, 2)).await;
        let checkpoint = bed.manager.checkpoint(&before.id, "key", 1).await;
        if status == S::Running {
            assert!(progress.is_ok() && checkpoint.is_ok());
        } else {
            assert_eq!((code(progress), code(checkpoint)), ("INVALID_STATE_TRANSITION", "INVALID_STATE_TRANSITION"));
            assert_eq!(bed.get(&before.id).await, before);
        }
    }
}

pub(crate) async fn a_retried_execution_keeps_what_it_had<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let created = bed.create_with(|new| new.payload("p").metadata("k", 1).max_attempts(2)).await;
    let id = &created.id;
    let started = bed.manager.start(id).await.unwrap();
    assert_eq!((started.attempts, started.epoch, started.started_at), (1, 1, Some(started.updated_at)));
    bed.manager.checkpoint(id, "row", 1).await.unwrap();
    bed.manager.checkpoint(id, "row", 2).await.unwrap();
    bed.manager.checkpoint(id, "file", "a").await.unwrap();
    bed.manager.update_progress(id, Progress::new(9, 10)).await.unwrap();
    let failure = Failure::new("disk full").code("ENOSPC").retryable(true);
    let failed = bed.manager.fail(id, failure.clone()).await.unwrap();
    assert_eq!((failed.status, failed.error, failed.completed_at), (S::Retrying, Some(failure), None));
    bed.clock.advance(SECOND);
    let again = bed.manager.start(id).await.unwrap();
    assert_eq!((again.attempts, again.epoch, &again.progress), (2, 2, &None));
    assert_eq!((&again.checkpoints["row"], &again.checkpoints["file"]), (&2.into(), &"a".into()));
    assert_eq!((&again.payload, &again.metadata["k"]), (&"p".into(), &1.into()));
    assert_eq!((again.created_at, again.started_at), (created.created_at, Some(Timestamp::now(&bed.clock))));
    let done = bed.manager.complete(id, "r").await.unwrap();
    assert_eq!((done.result, done.error, done.attempts), (Some("r".into()), None, 2));
    assert_eq!(done.checkpoints.len(), 2);
}

pub(crate) async fn checkpoints_that_were_settled_are_there<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new.max_attempts(2).idempotency_key("the same")).await;
    let (id, lease) = (held.id, held.token());
    let odd = "{\"a\": \\, 'é'}";
    let values =
        [json!("text"), json!({"b": [1, null], "a": "\u{0}\n"}), Value::Null, json!(0.1), json!(u64::MAX), json!("")];
    let keys = ["plain", odd, "nothing", "a fraction", "a number", "empty"];
    let keep = |(key, value)| Write::under(lease, Command::checkpoint(key, value).unwrap());
    let over = json!("over");
    let first = keys.into_iter().zip([&over; 6]).map(keep);
    let twice = first.clone().chain(keys.into_iter().zip(&values).map(keep)).collect();
    // The last one stays, in one batch and in several.
    for (writes, count) in [(first.collect(), 6), (twice, 12), (keys.into_iter().zip(&values).map(keep).collect(), 6)] {
        assert_eq!(bed.store().settle(writes).await.unwrap(), vec![Ok(()); count]);
    }
    let mut kept: BTreeMap<String, Value> = keys.map(str::to_owned).into_iter().zip(values).collect();
    let found = bed.get(&id).await;
    assert_eq!((&found.checkpoints, found.version, &found.payload), (&kept, held.version + 24, &held.payload));

    // What shows an execution shows all that it has kept.
    let progress = bed.manager.under(&lease).update_progress(&id, Progress::new(1, 2)).await.unwrap();
    assert_eq!(progress.checkpoints, kept);
    kept.insert("one more".to_owned(), 7.into());
    assert_eq!(bed.manager.under(&lease).checkpoint(&id, "one more", 7).await.unwrap().checkpoints, kept);
    let page = bed.manager.list(ListOptions::default()).await.unwrap();
    assert_eq!(page.executions[0].checkpoints, kept);
    assert_eq!(bed.manager.find_by_idempotency_key("the same").await.unwrap().unwrap().checkpoints, kept);

    // No end of an attempt takes anything of it away.
    let failed = Write::under(lease, Command::Fail { failure: Failure::new("no").retryable(true), random: 0 });
    assert_eq!(bed.store().settle(vec![failed]).await.unwrap(), [Ok(())]);
    bed.clock.advance(DAY);
    let claimed = bed.manager.claim(claim_of(&[], 1)).await.unwrap().remove(0);
    assert_eq!(claimed.checkpoints, kept);
    bed.clock.advance(DAY);
    assert_eq!(bed.store().sweep(9).await.unwrap().total(), 1);
    let swept = bed.get(&id).await;
    assert_eq!((swept.status, &swept.checkpoints), (S::Failed, &kept));
    bed.manager.delete(&id).await.unwrap();
    let anew = bed.claimed_with(|new| new.idempotency_key("the same")).await.token();
    bed.manager.under(&anew).settle(&anew.id, Command::checkpoint("its own", 1).unwrap()).await.unwrap();
    assert_eq!(bed.get(&anew.id).await.checkpoints, BTreeMap::from([("its own".to_owned(), 1.into())]));
}

pub(crate) async fn attempts_are_used_up<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create_with(|new| new.max_attempts(2)).await.id;
    let failure = || Failure::new("no").retryable(true);
    bed.manager.start(&id).await.unwrap();
    assert_eq!(bed.manager.fail(&id, failure()).await.unwrap().status, S::Retrying);
    let version = bed.get(&id).await.version;
    assert_eq!(bed.manager.retry(&id).await.unwrap().version, version, "it is retrying already");
    bed.manager.start(&id).await.unwrap();
    let failed = bed.manager.fail(&id, failure()).await.unwrap();
    assert_eq!((failed.status, failed.attempts), (S::Failed, 2));
    let error = bed.manager.retry(&id).await.unwrap_err();
    assert_eq!(error.code(), "MAX_RETRIES_EXCEEDED");
    assert!(error.to_string().contains("expected fewer than 2 attempts before another, found 2"), "{error}");
    assert_eq!(bed.get(&id).await, failed);
    // After a timeout, or a failure that was not to be retried, attempts may be left.
    for status in [S::TimedOut, S::Failed] {
        let ended = in_status(&bed, status, false).await;
        let retried = bed.manager.retry(&ended.id).await.unwrap();
        assert_eq!((retried.status, retried.run_at, retried.completed_at), (S::Retrying, retried.updated_at, None));
        let ended = in_status(&bed, status, true).await;
        assert_eq!(code(bed.manager.retry(&ended.id).await), "MAX_RETRIES_EXCEEDED");
    }
}

pub(crate) async fn a_dead_letter_can_be_driven_anew<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let manager = &bed.manager;
    for status in [S::Failed, S::TimedOut] {
        for last in [true, false] {
            let dead = in_status(&bed, status, last).await;
            let again = manager.redrive(&dead.id).await.unwrap();
            assert_eq!((again.status, again.attempts, again.redrives), (S::Retrying, 0, 1));
            assert_eq!((again.epoch, &again.history, again.completed_at), (dead.epoch, &dead.history, None));
            assert_eq!(bed.get(&dead.id).await, again);
            assert_eq!(manager.redrive(&dead.id).await.unwrap(), again, "it waits already");
            let running = bed.claim_this(&dead.id).await;
            assert_eq!((running.attempts, running.epoch), (1, dead.epoch + 1), "a new series, a higher epoch");
            // As many attempts as it had at first.
            let failure = || Failure::new("no").retryable(true);
            let failed = manager.under(&running.token()).fail(&dead.id, failure()).await.unwrap();
            assert_eq!(failed.status, if last { S::Failed } else { S::Retrying });
            manager.cancel(&dead.id, None).await.ok();
        }
    }
    for status in [S::Pending, S::Running, S::Completed, S::Cancelled] {
        let execution = in_status(&bed, status, false).await;
        assert_eq!(code(manager.redrive(&execution.id).await), "INVALID_STATE_TRANSITION", "{status}");
        assert_eq!(bed.get(&execution.id).await, execution);
    }
}

pub(crate) async fn attempts_are_remembered<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create_with(|new| new.max_attempts(40)).await.id;
    let manager = &bed.manager;
    let mut begun = Vec::new();
    for _ in 0..HISTORY_LEN_MAX + 2 {
        let running = bed.claim_this(&id).await;
        let token = running.token();
        let latest = running.history.last().unwrap();
        assert_eq!((latest.epoch, latest.worker.as_deref(), latest.end), (running.epoch, Some("worker"), None));
        assert_eq!((latest.trace_id, latest.env_id), (token.trace_id(), token.env_id()));
        begun.push((latest.epoch, latest.started_at, Timestamp::now(&bed.clock).after(SECOND)));
        bed.clock.advance(SECOND);
        let failure = Failure::new("x".repeat(1000)).code("no").retryable(true);
        manager.under(&token).fail(&id, failure).await.unwrap();
        manager.retry(&id).await.unwrap();
        bed.clock.advance(SECOND * 400);
    }
    let running = bed.claim_this(&id).await;
    manager.under(&running.token()).release(&id, Duration::ZERO).await.unwrap();
    let execution = bed.get(&id).await;
    let (last, failed) = execution.history.split_last().unwrap();
    assert_eq!((last.end, &last.error), (Some(AttemptEnd::Released), &None));
    let remembered: Vec<_> = failed.iter().map(|one| (one.epoch, one.started_at, one.ended_at.unwrap())).collect();
    assert_eq!(remembered, begun[begun.len() + 1 - HISTORY_LEN_MAX..], "the latest");
    let error = failed[0].error.as_ref().unwrap();
    assert_eq!(
        (failed[0].end, error.code.as_deref(), error.message.len()),
        (Some(AttemptEnd::Failed), Some("no"), 200)
    );
}

pub(crate) async fn waits_between_attempts_are_kept<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let policy = RetryPolicy::new(SECOND, SECOND * 8);
    let plain = bed.create_with(|new| new.max_attempts(9).retry(policy.without_jitter())).await.id;
    let mut waits = Vec::new();
    for _ in 0..5 {
        bed.claim_this(&plain).await;
        let lease = bed.get(&plain).await.token();
        let failure = Failure::new("no").retryable(true);
        let failed = bed.manager.under(&lease).fail(&plain, failure).await.unwrap();
        let wait = failed.run_at.since(failed.updated_at);
        assert_eq!(failed.retry_delay, Some(wait));
        bed.clock.advance(wait - Duration::from_millis(1));
        assert!(bed.claim(1).await.is_empty(), "a millisecond too early");
        bed.clock.advance(Duration::from_millis(1));
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 8]);

    let mut spread = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let id = bed.create_with(|new| new.max_attempts(3).retry(policy)).await.id;
        let mut longest = SECOND * 3;
        for _ in 0..2 {
            bed.manager.start(&id).await.unwrap();
            let failed = bed.manager.fail(&id, Failure::new("no").retryable(true)).await.unwrap();
            let wait = failed.run_at.since(failed.updated_at);
            assert!(wait >= SECOND && wait <= longest, "{wait:?}");
            longest = (wait * 3).min(SECOND * 8);
            spread.insert(wait);
        }
    }
    assert!(spread.len() > 3, "jitter spreads: {spread:?}");
}

pub(crate) async fn retry_after_is_obeyed<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create_with(|new| new.max_attempts(3)).await.id;
    bed.manager.start(&id).await.unwrap();
    let failure = Failure::new("429").retryable(true).retry_after(Duration::from_secs(3600));
    let failed = bed.manager.fail(&id, failure.clone()).await.unwrap();
    assert_eq!(failed.run_at.since(failed.updated_at), Duration::from_secs(3600));
    assert_eq!(bed.get(&id).await.error, Some(failure));
    // Who starts it by hand knows what he does.
    assert_eq!(bed.manager.start(&id).await.unwrap().status, S::Running);
}

pub(crate) async fn progress_makes_sense_and_never_falls<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create_with(|new| new.max_attempts(2)).await.id;
    bed.manager.start(&id).await.unwrap();
    let half = Progress::new(50, 100).message("half");
    let updated = bed.manager.update_progress(&id, half.clone()).await.unwrap();
    assert_eq!(updated.progress, Some(half));
    for nonsense in [
        Progress::new(0, 0),
        Progress::new(101, 100),
        Progress::new(1, 1).percent(f64::NAN),
        Progress::new(1, 1).percent(101.0),
        Progress::new(1, 1).percent(-1.0),
        Progress::new(49, 100),
    ] {
        assert_eq!(code(bed.manager.update_progress(&id, nonsense).await), "INVALID_PROGRESS");
    }
    assert_eq!(bed.get(&id).await, updated);
    let given = bed.manager.update_progress(&id, Progress::new(1, 3).percent(66.6)).await.unwrap();
    assert!((given.progress.unwrap().percent - 66.6).abs() < 1e-9);
    bed.manager.fail(&id, Failure::new("no").retryable(true)).await.unwrap();
    bed.manager.start(&id).await.unwrap();
    assert!(bed.manager.update_progress(&id, Progress::new(1, 100)).await.is_ok(), "another attempt begins anew");
}

pub(crate) async fn a_reason_for_cancelling_is_kept<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create_with(|new| new.metadata("tenant", "acme")).await.id;
    let cancelled = bed.manager.cancel(&id, Some("no longer wanted")).await.unwrap();
    assert_eq!(cancelled.status, S::Cancelled);
    assert_eq!(cancelled.metadata["cancellationReason"], "no longer wanted");
    assert_eq!(cancelled.metadata["tenant"], "acme");
    assert_eq!(bed.get(&id).await, cancelled);
    let other = bed.create().await.id;
    assert!(bed.manager.cancel(&other, None).await.unwrap().metadata.is_empty());
}

/// Who does not tell the time leaves that to others.
pub(crate) async fn the_time_that_is_told_is_the_stores<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for _ in 0..3 {
        let created = bed.create_with(|new| new).await.created_at;
        assert_eq!(bed.store().time().await.unwrap().unwrap_or(created), created);
        bed.clock.advance(DAY);
    }
}

pub(crate) async fn versions_rise_by_one<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create_with(|new| new.max_attempts(2)).await.id;
    let mut versions = vec![bed.get(&id).await.version];
    versions.push(bed.manager.start(&id).await.unwrap().version);
    assert!(bed.manager.start(&id).await.is_err());
    versions.push(bed.manager.update_progress(&id, Progress::new(1, 2)).await.unwrap().version);
    versions.push(bed.manager.checkpoint(&id, "key", 1).await.unwrap().version);
    versions.push(bed.manager.fail(&id, Failure::new("no").retryable(true)).await.unwrap().version);
    versions.push(bed.manager.start(&id).await.unwrap().version);
    versions.push(bed.manager.complete(&id, ()).await.unwrap().version);
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7]);
}

pub(crate) async fn a_version_can_be_expected<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let execution = bed.create().await;
    let id = &execution.id;
    let at = |version| bed.manager.expecting(Expected { version: Some(version), epoch: None });
    let error = at(2).start(id).await.unwrap_err();
    assert_eq!(error.code(), "VERSION_CONFLICT");
    assert!(error.to_string().contains("expected version 2, found 1"), "{error}");
    assert_eq!(bed.get(id).await, execution);
    assert_eq!(at(1).start(id).await.unwrap().version, 2);
    assert_eq!(code(at(1).complete(id, 1).await), "VERSION_CONFLICT");
    assert_eq!(at(2).complete(id, 1).await.unwrap().status, S::Completed);
}

pub(crate) async fn unknown_executions_are_not_found<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = "ex_0123456789abcdef0123456789abcdef".parse::<ExecutionId>().unwrap();
    let manager = &bed.manager;
    for code in [
        code(manager.get(&id).await),
        code(manager.start(&id).await),
        code(manager.complete(&id, 1).await),
        code(manager.fail(&id, Failure::new("no")).await),
        code(manager.cancel(&id, None).await),
        code(manager.retry(&id).await),
        code(manager.update_progress(&id, Progress::new(1, 2)).await),
        code(manager.checkpoint(&id, "key", 1).await),
        code(manager.timeout(&id).await),
        code(manager.delete(&id).await),
    ] {
        assert_eq!(code, "NOT_FOUND");
    }
    assert!(manager.claim_by_id(&id, "worker", SECOND).await.unwrap().is_none());
}

pub(crate) async fn what_is_not_running_can_be_deleted<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for status in S::ALL {
        let execution = in_status(&bed, status, false).await;
        let deleted = bed.manager.delete(&execution.id).await;
        if status == S::Running {
            assert_eq!(code(deleted), "INVALID_STATE_TRANSITION");
            assert_eq!(bed.get(&execution.id).await, execution);
        } else {
            deleted.unwrap();
            assert_eq!(code(bed.manager.get(&execution.id).await), "NOT_FOUND");
            assert_eq!(code(bed.manager.delete(&execution.id).await), "NOT_FOUND");
        }
    }
    // With it goes its key, and its place among those that wait.
    let first = bed.create_with(|new| new.idempotency_key("key")).await;
    bed.manager.delete(&first.id).await.unwrap();
    assert_eq!(bed.manager.find_by_idempotency_key("key").await.unwrap(), None);
    assert!(bed.claim(10).await.is_empty());
    assert_ne!(bed.create_with(|new| new.idempotency_key("key").payload(2)).await.id, first.id);
}

pub(crate) async fn a_batch_of_writes_is_applied_in_order<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let (one, other) = (bed.create().await.id, bed.create().await.id);
    let unknown = "ex_0123456789abcdef0123456789abcdef".parse().unwrap();
    let complete = || Command::Complete { result: 1.into() };
    let start = || Command::Start { holder: None };
    let writes = vec![
        Write::new(one, start()),
        Write::new(other, complete()),
        Write::new(unknown, start()),
        Write::new(one, complete()),
        Write::new(other, start()),
        Write::new(one, complete()),
    ];
    let outcomes = bed.store().update(writes).await.unwrap();
    let told: Vec<_> =
        outcomes.iter().map(|it| it.as_ref().map(|it| it.status).map_err(tracer::execution::Refusal::code)).collect();
    let refused = "INVALID_STATE_TRANSITION";
    assert_eq!(told, [Ok(S::Running), Err(refused), Err("NOT_FOUND"), Ok(S::Completed), Ok(S::Running), Err(refused)]);
    let settled = bed.store().settle(vec![Write::new(other, complete()), Write::new(other, start())]).await.unwrap();
    let told: Vec<_> = settled.iter().map(|it| it.as_ref().map_err(tracer::execution::Refusal::code)).collect();
    assert_eq!(told, [Ok(&()), Err(refused)]);
    assert_eq!(bed.get(&other).await.status, S::Completed);
    assert!(bed.store().update(Vec::new()).await.unwrap().is_empty());
    assert!(bed.store().settle(Vec::new()).await.unwrap().is_empty());
}

/// Writes that were made by hand: nothing but the store has seen them.
pub(crate) async fn what_could_not_be_read_again_is_refused<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let nested = |depth| (0..depth).fold(json!("end"), |value, _| json!([value]));
    let (deepest, deeper) = (nested(VALUE_DEPTH_MAX), nested(VALUE_DEPTH_MAX + 1));
    let complete = |result: &Value| Command::Complete { result: result.clone() };
    let keep = |key: &str, value: &Value| Command::Checkpoint { key: key.to_owned(), value: value.clone() };
    let bad = [complete(&deeper), keep("key", &deeper), keep("", &json!(1)), keep(&"k".repeat(256), &json!(1))];
    for command in bad {
        // One that was claimed here is as good as in hand; the other has to be read.
        let (held, free) = (bed.claimed_with(|new| new).await, bed.create().await.id);
        let free = bed.manager.start(&free).await.unwrap();
        let writes = || vec![Write::under(held.token(), command.clone()), Write::new(free.id, command.clone())];
        for refused in bed.store().settle(writes()).await.unwrap() {
            assert_eq!(refused.unwrap_err().code(), "INVALID_INPUT");
        }
        for refused in bed.store().update(writes()).await.unwrap() {
            assert_eq!(refused.unwrap_err().code(), "INVALID_INPUT");
        }
        assert_eq!((bed.get(&held.id).await, bed.get(&free.id).await), (held.clone(), free.clone()));
        let good = |id| [Write::new(id, keep("key", &deepest)), Write::new(id, complete(&deepest))];
        let under = |write: Write| Write { expected: held.token().into(), ..write };
        let good = good(held.id).map(under).into_iter().chain(good(free.id)).collect();
        assert_eq!(bed.store().settle(good).await.unwrap(), vec![Ok(()); 4]);
        for id in [held.id, free.id] {
            let done = bed.get(&id).await;
            assert_eq!(
                (done.status, &done.result, &done.checkpoints["key"]),
                (S::Completed, &Some(deepest.clone()), &deepest)
            );
        }
    }
    assert_eq!(bed.manager.list(ListOptions::new()).await.unwrap().len(), 8);
}
