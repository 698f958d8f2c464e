//! What ended long ago is deleted, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use tracer::execution::{
    Deleted, Execution, ExecutionStatus as S, ExecutionStore, ListOptions, NewExecution, Retention, Timestamp,
};

use super::code;
use super::life::in_status;
use crate::bed::{Bed, SECOND};

const MS: Duration = Duration::from_millis(1);

/// All that is to be deleted, and how many at each call: until it is `expected`, where lists lag behind.
async fn deleted_by<T: ExecutionStore + 'static>(
    bed: &Bed<T>,
    retention: Retention,
    limit: u32,
    expected: u32,
) -> (u32, Vec<u32>) {
    let (mut deleted, mut counts) = (0, Vec::new());
    for _ in 0..if bed.store().capabilities().consistent_list { 1 } else { 100 } {
        let mut after = None;
        loop {
            let step = bed.store().delete_ended(&retention, after, limit).await.expect("the store answers");
            let Deleted { deleted: count, unreadable, next } = step;
            assert_eq!(unreadable, 0);
            assert!(count <= limit.max(1), "{count} of {limit}");
            assert!(next.is_none() || next > after, "it goes on");
            deleted += count;
            counts.push(count);
            after = next;
            if after.is_none() {
                break;
            }
        }
        if deleted >= expected {
            break;
        }
        // Its clock is nobody's here.
        tokio::time::sleep(20 * MS).await;
    }
    (deleted, counts)
}

async fn is_there<T: ExecutionStore + 'static>(bed: &Bed<T>, execution: &Execution) -> bool {
    match bed.store().find_by_id(&execution.id).await.expect("the store answers") {
        Some(found) => {
            assert_eq!(found, *execution, "it is untouched");
            true
        }
        None => false,
    }
}

pub(crate) async fn what_ended_long_ago_is_deleted<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let in_all = async || {
        let mut all = Vec::new();
        for status in S::ALL {
            all.push(in_status(&bed, status, false).await);
        }
        all
    };
    // They have all been created long ago; what counts is when they have ended.
    let late = bed.create().await;
    let old = in_all().await;
    bed.clock.advance(MS);
    let young = in_all().await;
    bed.manager.start(&late.id).await.unwrap();
    let late = bed.manager.complete(&late.id, 1).await.unwrap();
    bed.clock.advance(10 * SECOND);

    let (deleted, _) = deleted_by(&bed, Retention::new(10 * SECOND), 100, 2).await;
    assert_eq!(deleted, 2, "completed and cancelled");
    for execution in &old {
        let is_over = matches!(execution.status, S::Completed | S::Cancelled);
        assert_eq!(is_there(&bed, execution).await, !is_over, "{}", execution.status);
    }
    for execution in young.iter().chain([&late]) {
        assert!(is_there(&bed, execution).await, "{} exactly as long ago", execution.status);
    }

    let both = Retention::new(100 * SECOND).dead_letters(10 * SECOND);
    assert_eq!(deleted_by(&bed, both, 100, 2).await.0, 2, "failed and timed out");
    for execution in &old {
        assert_eq!(is_there(&bed, execution).await, !execution.status.is_terminal(), "{}", execution.status);
    }
    assert!(is_there(&bed, &late).await);

    bed.clock.advance(MS);
    let both = Retention::new(10 * SECOND).dead_letters(10 * SECOND);
    assert_eq!(deleted_by(&bed, both, 100, 5).await.0, 5);
    for execution in old.iter().chain(&young) {
        assert_eq!(is_there(&bed, execution).await, !execution.status.is_terminal(), "{}", execution.status);
    }
    assert_eq!(code(bed.manager.get(&late.id).await), "NOT_FOUND");
    // What runs and waits goes on as if nothing had been.
    let running = old.iter().find(|execution| execution.status == S::Running).unwrap();
    bed.manager.complete(&running.id, 1).await.unwrap();
    assert_eq!(bed.claim(100).await.len(), 4, "two pending, two retrying");
}

pub(crate) async fn all_that_was_known_of_it_is_deleted<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let manager = &bed.manager;
    let new = NewExecution::new("work").idempotency_key("whole").payload("x".repeat(10_000));
    let create = manager.prepare(new).unwrap();
    let created = bed.store().create(vec![create.clone()]).await.expect("the store answers").remove(0);
    let whole = created.into_execution();
    let part = bed.create_with(|new| new.parent(whole.id)).await;
    let gone = bed.create_with(|new| new.parent(whole.id)).await;
    for id in [&whole.id, &gone.id] {
        manager.start(id).await.unwrap();
        manager.checkpoint(id, "key", "y".repeat(10_000)).await.unwrap();
        manager.complete(id, "z".repeat(10_000)).await.unwrap();
    }
    bed.clock.advance(SECOND);
    assert_eq!(deleted_by(&bed, SECOND.into(), 10, 0).await.0, 0);
    bed.clock.advance(MS);
    assert_eq!(deleted_by(&bed, SECOND.into(), 10, 2).await.0, 2);
    assert_eq!(manager.find_by_idempotency_key("whole").await.unwrap(), None);
    assert_eq!(code(manager.delete(&whole.id).await), "NOT_FOUND");
    assert!(is_there(&bed, &part).await, "parts stay");
    if bed.store().capabilities().consistent_list {
        let parts = manager.list(ListOptions::new().parent(whole.id)).await.unwrap();
        assert_eq!(parts.executions, std::slice::from_ref(&part));
        assert_eq!(manager.list(ListOptions::new()).await.unwrap().executions, [part]);
    }
    // Under the same key there is another execution, with nothing of what was kept.
    let new = manager.create(NewExecution::new("work").idempotency_key("whole").payload(2)).await.unwrap().id;
    assert_ne!(new, whole.id);
    manager.start(&new).await.unwrap();
    manager.checkpoint(&new, "another", 1).await.unwrap();
    assert_eq!(bed.get(&new).await.checkpoints.into_iter().collect::<Vec<_>>(), [("another".to_owned(), 1.into())]);
    manager.cancel(&new, None).await.unwrap();
    manager.delete(&new).await.unwrap();
    // Nor is it under the same id, as the repetition of a creation has it.
    let again = bed.store().create(vec![create.clone()]).await.expect("the store answers").remove(0);
    assert_eq!(again.into_execution(), create.at(Timestamp::now(&bed.clock)));
    manager.start(&whole.id).await.unwrap();
    manager.checkpoint(&whole.id, "another", 1).await.unwrap();
    let kept = bed.get(&whole.id).await.checkpoints;
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [("another".to_owned(), 1.into())]);
}

pub(crate) async fn deletions_have_a_limit_and_go_on<T: ExecutionStore + 'static>(bed: Bed<T>) {
    let mut kept = Vec::new();
    for number in 0..24_u32 {
        let status = [S::Completed, S::Pending, S::Failed, S::Cancelled][number as usize % 4];
        let execution = in_status(&bed, status, false).await;
        if !matches!(status, S::Completed | S::Cancelled) {
            kept.push(execution);
        }
        // Some of one millisecond.
        bed.clock.advance(MS * (number / 3 % 2));
    }
    bed.clock.advance(SECOND);
    let (deleted, counts) = deleted_by(&bed, MS.into(), 5, 12).await;
    assert_eq!(deleted, 12, "{counts:?}");
    assert!(counts.len() >= 3, "{counts:?}");
    for execution in &kept {
        assert!(is_there(&bed, execution).await);
    }
    assert_eq!(deleted_by(&bed, MS.into(), 0, 0).await.0, 0, "a limit of none is one of one");

    // Ids that fall while time goes on.
    let new = (0..9).map(|_| bed.manager.prepare(NewExecution::new("work")).expect("it is right"));
    for new in new.collect::<Vec<_>>().into_iter().rev() {
        let id = new.id();
        bed.store().create(vec![new]).await.expect("the store answers");
        bed.manager.cancel(&id, None).await.unwrap();
        bed.clock.advance(MS);
    }
    bed.clock.advance(SECOND);
    assert_eq!(deleted_by(&bed, MS.into(), 2, 9).await.0, 9);
}

pub(crate) async fn nothing_is_deleted_that_was_driven_anew<T: ExecutionStore + 'static>(bed: Bed<T>) {
    for _ in 0..5 {
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(in_status(&bed, S::Failed, true).await.id);
        }
        bed.clock.advance(SECOND);
        let retention = Retention::new(MS).dead_letters(MS);
        let all = ids.clone();
        let did = bed
            .at_once(6, move |bed, number| {
                let ids = all.clone();
                async move {
                    let mut redriven = BTreeSet::new();
                    if number % 2 == 0 {
                        return (bed.manager.prune(retention).await.expect("the store answers").deleted, redriven);
                    }
                    for id in ids.into_iter().skip(number).step_by(3) {
                        match bed.manager.redrive(&id).await {
                            Ok(_) => drop(redriven.insert(id)),
                            Err(error) => assert_eq!(error.code(), "NOT_FOUND"),
                        }
                    }
                    (0, redriven)
                }
            })
            .await;
        let redriven: BTreeSet<_> = did.iter().flat_map(|(_, redriven)| redriven.clone()).collect();
        let deleted: u64 = did.iter().map(|(deleted, _)| deleted).sum();
        let mut there = BTreeSet::new();
        for id in &ids {
            if let Some(found) = bed.store().find_by_id(id).await.unwrap() {
                assert_eq!(found.status, if redriven.contains(id) { S::Retrying } else { S::Failed });
                there.insert(*id);
            }
        }
        assert!(redriven.is_subset(&there), "what was driven anew is there");
        assert_eq!(deleted + there.len() as u64, ids.len() as u64, "each was counted once");
        for id in there {
            bed.manager.delete(&id).await.unwrap();
        }
    }
}
