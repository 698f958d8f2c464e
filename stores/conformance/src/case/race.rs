//! Many at once: exactly one wins, and the others learn it.

use std::collections::{BTreeMap, BTreeSet};

use tracer::execution::{
    Beat, Command, ExecutionStatus as S, ExecutionStore, Expected, Failure, NewExecution, Swept, Timestamp, Write,
};

use super::code;
use crate::bed::{Bed, LEASE, SECOND, claim_of};

const TASKS: usize = 16;
const ROUNDS: usize = 10;

pub(crate) async fn one_start_wins<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for _ in 0..ROUNDS {
        let id = bed.create().await.id;
        let started = bed.at_once(TASKS, |bed, _| async move { bed.manager.start(&id).await }).await;
        let (won, lost): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for result in lost {
            assert_eq!(code(result), "INVALID_STATE_TRANSITION");
        }
        let execution = bed.get(&id).await;
        assert_eq!((execution.attempts, execution.epoch, execution.version), (1, 1, 2));
    }
}

pub(crate) async fn a_start_or_a_deletion_wins<T: ExecutionStore + 'static>(bed: Bed<T>) {
    // What decides is nearer than anywhere else: stores that are quick have more rounds.
    let began = tokio::time::Instant::now();
    for _ in (0..50 * ROUNDS).take_while(|round| *round < ROUNDS || began.elapsed() < SECOND) {
        let id = bed.create().await.id;
        let ended = bed
            .at_once(TASKS, |bed, number| async move {
                if number % 2 == 0 { bed.manager.start(&id).await.map(|_| ()) } else { bed.manager.delete(&id).await }
            })
            .await;
        let won: Vec<_> = (0..TASKS).filter(|number| ended[*number].is_ok()).collect();
        let [won] = won[..] else { panic!("one wins, not {won:?}") };
        let expected = if won % 2 == 0 { "INVALID_STATE_TRANSITION" } else { "NOT_FOUND" };
        for lost in ended.into_iter().filter(Result::is_err) {
            assert_eq!(code(lost), expected);
        }
        let found = bed.manager.get(&id).await;
        assert_eq!(found.ok().map(|found| (found.status, found.version)), (won % 2 == 0).then_some((S::Running, 2)));
    }
}

pub(crate) async fn one_creation_wins<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for round in 0..ROUNDS {
        let key = format!("key-{round}");
        let created = bed
            .at_once(TASKS, |bed, number| {
                // One of four asks for something else.
                let new = NewExecution::new("work").payload(number % 4 == 3).idempotency_key(&key);
                async move { bed.manager.create(new).await }
            })
            .await;
        let first = bed.manager.find_by_idempotency_key(&key).await.unwrap().expect("one was created");
        for (number, result) in created.into_iter().enumerate() {
            if first.payload == (number % 4 == 3) {
                assert_eq!(result.unwrap(), first);
            } else {
                assert_eq!(code(result), "IDEMPOTENCY_MISMATCH");
            }
        }
    }
    assert_eq!(bed.claim(1000).await.len(), ROUNDS);
}

pub(crate) async fn one_end_wins<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for round in 0..ROUNDS {
        // With a lease, and without.
        let held = if round % 2 == 0 {
            bed.claimed_with(|new| new).await
        } else {
            let id = bed.create().await.id;
            bed.manager.start(&id).await.unwrap()
        };
        let lease = held.token();
        let ended = bed
            .at_once(TASKS, |bed, number| async move {
                // No two are the same: that would be a repetition, which is answered as the first.
                let command = match number % 4 {
                    0 => Command::Complete { result: number.into() },
                    _ if number == 2 => Command::TimeOut,
                    1 | 2 => Command::Fail { failure: Failure::new(number.to_string()), random: 0 },
                    _ => Command::Complete { result: (number + 100).into() },
                };
                bed.store().update(vec![Write::under(lease, command)]).await.unwrap().remove(0)
            })
            .await;
        let won: Vec<_> = ended.iter().flatten().collect();
        assert_eq!(won.len(), 1);
        assert_eq!(&bed.get(&held.id).await, won[0]);
        for lost in ended.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(lost.code(), "LEASE_LOST");
        }
    }
}

pub(crate) async fn one_version_wins<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let id = bed.create().await.id;
    let mut version = bed.manager.start(&id).await.unwrap().version;
    for _ in 0..ROUNDS {
        let written = bed
            .at_once(TASKS, |bed, number| async move {
                let expected = Expected { version: Some(version), epoch: None };
                bed.manager.expecting(expected).checkpoint(&id, "who", number).await
            })
            .await;
        let (won, lost): (Vec<_>, Vec<_>) = written.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for result in lost {
            assert_eq!(code(result), "VERSION_CONFLICT");
        }
        version += 1;
        assert_eq!(bed.get(&id).await.version, version);
    }
}

pub(crate) async fn a_claim_is_of_one<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let new = |number: usize| NewExecution::new(["a", "b", "c"][number % 3]).payload(number);
    let created = bed.manager.create_all((0..300).map(new).collect::<Vec<_>>()).await.unwrap();
    let claimed = bed
        .at_once(8, |bed, number| async move {
            let mut mine = Vec::new();
            loop {
                let claim = claim_of([&["a", "b", "c"][..], &[]][number % 2], 7);
                let claimed = bed.manager.claim(claim).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed);
            }
        })
        .await;
    let claimed: Vec<_> = claimed.into_iter().flatten().collect();
    let ids: BTreeSet<_> = claimed.iter().map(|execution| execution.id).collect();
    assert_eq!((claimed.len(), ids.len()), (created.len(), created.len()), "each once");
    assert!(claimed.iter().all(|execution| execution.attempts == 1 && execution.epoch == 1));
}

pub(crate) async fn checkpoints_of_many_are_all_kept<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let held = bed.claimed_with(|new| new).await;
    let lease = held.token();
    bed.at_once(TASKS, |bed, number| async move {
        let key = format!("key-{number}");
        bed.manager.under(&lease).checkpoint(&lease.id, &key, number).await.unwrap();
    })
    .await;
    let execution = bed.get(&held.id).await;
    assert_eq!(execution.checkpoints.len(), TASKS);
    assert_eq!(execution.version, held.version + TASKS as u64);
}

pub(crate) async fn extended_leases_stay_extended_beside_writes<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for _ in 0..ROUNDS {
        let lease = bed.claimed_with(|new| new).await.token();
        bed.clock.advance(SECOND);
        let beats = bed
            .at_once(TASKS, |bed, number| async move {
                if number % 2 == 0 {
                    bed.manager.under(&lease).checkpoint(&lease.id, "key", number).await.unwrap();
                    return Beat::Held;
                }
                bed.manager.heartbeat(&[lease], LEASE * 2).await.unwrap()[0]
            })
            .await;
        assert_eq!(beats, [Beat::Held; TASKS]);
        let terms = bed.get(&lease.id).await.lease.expect("it is held");
        assert_eq!(terms.until, Timestamp::now(&bed.clock).after(LEASE * 2));
    }
}

/// Workers that claim, die, are stopped and wake up late, while others sweep. What was acknowledged is what is there.
pub(crate) async fn leases_never_overlap<T: ExecutionStore + 'static>(bed: Bed<T>) {
    const JOBS: usize = 40;
    let new = |number: usize| NewExecution::new("work").payload(number).max_attempts(4);
    let created = bed.manager.create_all((0..JOBS).map(new).collect::<Vec<_>>()).await.unwrap();
    let attempts = bed
        .at_once(8, |bed, worker| async move {
            let mut held = Vec::new();
            let mut completed = Vec::new();
            for round in 0..30 {
                let claimed = bed.manager.claim(claim_of(&[], 3)).await.unwrap();
                held.extend(claimed.iter().map(|execution| (execution.id, execution.epoch)));
                for (number, execution) in claimed.into_iter().enumerate() {
                    if (worker + round + number) % 3 == 0 {
                        continue; // It dies of this one.
                    }
                    let lease = execution.token();
                    if (worker + round) % 4 == 0 {
                        // It is stopped for longer than its lease.
                        bed.clock.advance(LEASE);
                        bed.manager.tick().await.unwrap();
                    }
                    if bed.manager.under(&lease).complete(&lease.id, lease.epoch).await.is_ok() {
                        completed.push((lease.id, lease.epoch));
                    }
                }
                if round % 5 == 4 {
                    bed.clock.advance(LEASE);
                    bed.manager.tick().await.unwrap();
                }
            }
            (held, completed)
        })
        .await;
    for _ in 0..4 {
        bed.clock.advance(LEASE);
        bed.manager.tick().await.unwrap();
        for execution in bed.claim(1000).await {
            let lease = execution.token();
            bed.manager.under(&lease).complete(&lease.id, "at last").await.unwrap();
        }
    }
    let mut epochs = BTreeSet::new();
    let mut winners = BTreeMap::new();
    for (held, completed) in attempts {
        for attempt in held {
            assert!(epochs.insert(attempt), "{attempt:?} was held twice");
        }
        for (id, epoch) in completed {
            assert_eq!(winners.insert(id, epoch), None, "{id} was completed twice");
        }
    }
    for created in created {
        let execution = bed.get(&created.unwrap().id).await;
        assert!(matches!(execution.status, S::Completed | S::Failed), "{execution:?}");
        assert!(execution.attempts <= 4 && execution.epoch == u64::from(execution.attempts));
        if let Some(epoch) = winners.get(&execution.id) {
            assert_eq!((execution.status, execution.result), (S::Completed, Some((*epoch).into())));
        }
    }
}

pub(crate) async fn sweeps_at_once_do_nothing_twice<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for _ in 0..40 {
        bed.create_with(|new| new.max_attempts(2)).await;
    }
    let claimed = bed.claim(40).await;
    bed.clock.advance(LEASE + SECOND);
    let swept = bed.at_once(8, |bed, _| async move { bed.store().sweep(10).await.unwrap() }).await;
    assert_eq!(swept.iter().map(Swept::total).sum::<u32>(), 40);
    for execution in claimed {
        let swept = bed.get(&execution.id).await;
        assert_eq!((swept.status, swept.version), (S::Retrying, execution.version + 1));
    }
}
