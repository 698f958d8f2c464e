//! Lists: filters, order, pages.

use std::collections::BTreeMap;

use tracer::execution::{
    Cursor, Execution, ExecutionId, ExecutionManager, ExecutionStatus as S, ExecutionStore, Failure, ListOptions,
    NewExecution, Retention, Timestamp,
};

use crate::bed::{Bed, SECOND, skip};

async fn numbers<T: ExecutionStore>(manager: &ExecutionManager<T>, options: ListOptions) -> Vec<u64> {
    let number = |execution: Execution| execution.payload.as_u64().expect("a number");
    manager.list(options).await.expect("the store answers").into_iter().map(number).collect()
}

pub(crate) async fn filters_are_obeyed<T: ExecutionStore + 'static>(bed: Bed<T>) {
    if !bed.store().capabilities().consistent_list {
        return skip(bed.store().capabilities().name, "does not show in a list at once what was written");
    }
    let manager = &bed.manager;
    let mut ids = Vec::new();
    for number in 0..8_u64 {
        let mut new = NewExecution::new(["a", "b"][usize::from(number % 2 == 1)]).payload(number);
        if number >= 6 {
            new = new.parent(ids[0]);
        }
        ids.push(manager.create(new).await.unwrap().id);
        bed.clock.advance(SECOND);
    }
    manager.start(&ids[1]).await.unwrap();
    manager.start(&ids[2]).await.unwrap();
    manager.complete(&ids[2], 1).await.unwrap();
    manager.cancel(&ids[3], None).await.unwrap();
    manager.start(&ids[5]).await.unwrap();
    manager.fail(&ids[5], Failure::new("no")).await.unwrap();
    let start = Timestamp::now(&bed.clock).unix_ms() - 8000;
    let at = |seconds: u64| Timestamp::from_unix_ms(start + seconds * 1000);
    let all = ListOptions::new;
    let mut in_order = ids.clone();
    in_order.sort_unstable();
    let between = |id: &ExecutionId| (in_order[2]..=in_order[5]).contains(id);
    let between: Vec<u64> = (0..).zip(&ids).filter(|(_, id)| between(id)).map(|(number, _)| number).collect();
    for (options, expected) in [
        (all(), &[0, 1, 2, 3, 4, 5, 6, 7][..]),
        (all().newest_first(), &[7, 6, 5, 4, 3, 2, 1, 0]),
        (all().limit(3), &[0, 1, 2]),
        (all().newest_first().limit(2), &[7, 6]),
        (all().limit(0), &[0]),
        (all().limit(u32::MAX), &[0, 1, 2, 3, 4, 5, 6, 7]),
        (all().type_("b"), &[1, 3, 5, 7]),
        (all().type_("b").type_("a").type_("c").limit(2), &[0, 1]),
        (all().type_("B"), &[]),
        (all().status(S::Running), &[1]),
        (all().status(S::Completed).status(S::Cancelled), &[2, 3]),
        (all().status(S::Pending).type_("a"), &[0, 4, 6]),
        (all().dead_letters(), &[5]),
        (all().parent(ids[0]), &[6, 7]),
        (all().parent(ids[1]), &[]),
        (all().ids(ids[3]..=ids[3]), &[3]),
        (all().ids(in_order[2]..=in_order[5]), &between),
        (all().ids(in_order[2]..=in_order[5]).limit(3), &between[..3]),
        (all().ids(in_order[0]..=in_order[7]).newest_first().type_("b"), &[7, 5, 3, 1]),
        (all().ids(in_order[5]..=in_order[2]), &[]),
        (all().created_from(at(2)).created_before(at(4)), &[2, 3]),
        (all().created_from(at(6)).newest_first(), &[7, 6]),
        (all().created_before(at(0)), &[]),
    ] {
        assert_eq!(numbers(manager, options.clone()).await, expected, "{options:?}");
    }
    let page = manager.list(all().limit(7)).await.unwrap();
    assert!(page.next.is_some());
    assert_eq!(manager.list(all().limit(8)).await.unwrap().next, None, "there are no more");
    let found = manager.list(all().status(S::Completed)).await.unwrap();
    assert_eq!(found.executions, [bed.get(&ids[2]).await]);
}

/// A store may know of them apart.
pub(crate) async fn dead_letters_are_listed_while_they_are_dead<T: ExecutionStore + 'static>(bed: Bed<T>) {
    if !bed.store().capabilities().consistent_list {
        return skip(bed.store().capabilities().name, "does not show in a list at once what was written");
    }
    let manager = &bed.manager;
    let mut ids = Vec::new();
    for number in 0..6_u64 {
        ids.push(manager.create(NewExecution::new("work").payload(number)).await.unwrap().id);
        bed.clock.advance(SECOND);
    }
    let dead = ListOptions::new().dead_letters();
    assert!(numbers(manager, dead.clone()).await.is_empty());
    for id in &ids[..5] {
        manager.start(id).await.unwrap();
    }
    manager.complete(&ids[0], 1).await.unwrap();
    for id in &ids[1..4] {
        manager.fail(id, Failure::new("no")).await.unwrap();
    }
    manager.timeout(&ids[4]).await.unwrap();
    assert_eq!(numbers(manager, dead.clone()).await, [1, 2, 3, 4]);
    assert_eq!(numbers(manager, dead.clone().newest_first().limit(3)).await, [4, 3, 2]);
    assert_eq!(numbers(manager, ListOptions::new().status(S::TimedOut)).await, [4]);
    let page = manager.list(dead.clone().limit(2)).await.unwrap();
    assert_eq!(numbers(manager, dead.clone().limit(2).after(page.next.unwrap())).await, [3, 4]);
    manager.redrive(&ids[1]).await.unwrap();
    manager.delete(&ids[3]).await.unwrap();
    assert_eq!(numbers(manager, dead.clone()).await, [2, 4]);
    manager.start(&ids[1]).await.unwrap();
    assert_eq!(numbers(manager, dead.clone()).await, [2, 4]);
    manager.fail(&ids[1], Failure::new("again")).await.unwrap();
    assert_eq!(numbers(manager, dead.clone()).await, [1, 2, 4]);
    bed.clock.advance(2 * SECOND);
    let retention = Retention::new(SECOND).dead_letters(SECOND);
    assert_eq!(manager.prune(retention).await.unwrap().deleted, 4);
    assert!(numbers(manager, dead).await.is_empty());
}

pub(crate) async fn pages_show_everything_once_while_others_write<T: ExecutionStore + 'static>(bed: Bed<T>) {
    if !bed.store().capabilities().consistent_list {
        return skip(bed.store().capabilities().name, "does not show in a list at once what was written");
    }
    let manager = &bed.manager;
    let mut stay = Vec::new();
    let mut go = Vec::new();
    for number in 0..60 {
        // Many at the same instant: the id decides.
        let id = bed.create().await.id;
        if number % 6 == 5 {
            go.push(id);
        } else {
            stay.push(id);
        }
        if number % 10 == 9 {
            bed.clock.advance(SECOND);
        }
    }
    for newest_first in [false, true] {
        let mut seen: BTreeMap<_, u32> = BTreeMap::new();
        let mut options = ListOptions::new().limit(7);
        options.newest_first = newest_first;
        let mut before: Option<Cursor> = None;
        loop {
            let page = manager.list(options.clone()).await.unwrap();
            assert!(page.len() <= 7);
            for execution in &page {
                let here = Cursor::of(execution);
                let in_order = |before| if newest_first { here < before } else { here > before };
                assert!(before.is_none_or(in_order));
                before = Some(here);
                *seen.entry(execution.id).or_default() += 1;
            }
            // Others change, delete and create meanwhile.
            let next = &stay[seen.len() % stay.len()];
            let _ = manager.start(next).await;
            let _ = manager.cancel(&stay[(seen.len() * 7) % stay.len()], None).await;
            if let Some(id) = go.pop() {
                manager.delete(&id).await.unwrap();
            }
            bed.create().await;
            // A cursor is a text, on its way to a browser and back.
            let Some(next) = page.next else { break };
            options = options.after(next.to_string().parse().unwrap());
        }
        for id in &stay {
            assert_eq!(seen.get(id), Some(&1), "newest first: {newest_first}");
        }
        assert!(seen.values().all(|times| *times == 1));
    }
    assert!("1-2".parse::<Cursor>().is_err());
}
