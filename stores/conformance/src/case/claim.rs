//! Which executions are claimed, and in which order.

use tracer::execution::{
    Claim, Command, Execution, ExecutionStore, Failure, NAME_LEN_BYTES_MAX, NewExecution, Trouble, Write, Written,
};

use crate::bed::{Bed, LEASE, SECOND, claim_of};

const NOTHING: [u64; 0] = [];

fn payloads(claimed: &[Execution]) -> Vec<u64> {
    claimed.iter().map(|execution| execution.payload.as_u64().expect("a number")).collect()
}

pub(crate) async fn the_most_urgent_comes_first<S: ExecutionStore + 'static>(bed: Bed<S>) {
    // (priority, delay in seconds); the payload is the place in which it is to be claimed once all are due.
    for (place, priority, delay) in
        [(5, 0, 2), (3, 0, 0), (0, 9, 5), (4, 0, 0), (1, 5, 1), (2, 5, 3), (7, i16::MIN, 0), (6, -1, 4)]
    {
        bed.create_with(|new| new.payload(place).priority(priority).delay(SECOND * delay)).await;
        bed.clock.advance(std::time::Duration::from_millis(1));
    }
    bed.create_with(|new| new.payload(99).priority(i16::MAX).delay(SECOND * 3600)).await;
    assert_eq!(payloads(&bed.claim(0).await), NOTHING);
    assert_eq!(payloads(&bed.claim(2).await), [3, 4], "what is due, whatever waits before it");
    bed.clock.advance(SECOND * 60);
    assert_eq!(payloads(&bed.claim(4).await), [0, 1, 2, 5]);
    assert_eq!(payloads(&bed.claim(100).await), [6, 7]);
    assert_eq!(payloads(&bed.claim(100).await), NOTHING);
}

pub(crate) async fn what_was_created_first_comes_first<S: ExecutionStore + 'static>(bed: Bed<S>) {
    // All in one millisecond.
    for number in 0..20_u64 {
        bed.create_with(|new| new.payload(number)).await;
    }
    let more = (20..40_u64).map(|number| NewExecution::new("work").payload(number));
    bed.manager.create_all(more.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(payloads(&bed.claim(40).await), (0..40).collect::<Vec<_>>());
}

pub(crate) async fn only_what_is_wanted_is_claimed<S: ExecutionStore + 'static>(bed: Bed<S>) {
    for (number, type_) in ["a", "b", "c", "a", "b", "c"].into_iter().enumerate() {
        bed.manager.create(NewExecution::new(type_).payload(number)).await.unwrap();
        bed.clock.advance(SECOND);
    }
    let manager = &bed.manager;
    assert_eq!(payloads(&manager.claim(claim_of(&["c", "a", "nobody's"], 3)).await.unwrap()), [0, 2, 3]);
    assert_eq!(payloads(&manager.claim(claim_of(&["A"], 3)).await.unwrap()), NOTHING);
    let last = manager.list(tracer::execution::ListOptions::new().newest_first().limit(1)).await.unwrap()[0].clone();
    let other_type = Claim { only: Some(last.id), ..claim_of(&["b"], 1) };
    assert_eq!(payloads(&manager.claim(other_type).await.unwrap()), NOTHING);
    let this = manager.claim_by_id(&last.id, "me", LEASE).await.unwrap().expect("it is due");
    assert_eq!(this.lease.expect("it is held").worker, "me");
    assert!(manager.claim_by_id(&last.id, "me", LEASE).await.unwrap().is_none(), "it is running");
    assert_eq!(payloads(&bed.claim(9).await), [1, 4]);
    let nameless = Claim { worker: String::new(), ..claim_of(&[], 1) };
    assert_eq!(super::code(manager.claim(nameless).await), "INVALID_INPUT");
    let no_time = Claim { lease: std::time::Duration::ZERO, ..claim_of(&[], 1) };
    assert_eq!(super::code(manager.claim(no_time).await), "INVALID_INPUT");
}

pub(crate) async fn what_is_delayed_waits<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let id = bed.create_with(|new| new.delay(SECOND)).await.id;
    bed.clock.advance(std::time::Duration::from_millis(999));
    assert!(bed.claim(1).await.is_empty());
    assert!(bed.manager.claim_by_id(&id, "worker", LEASE).await.unwrap().is_none());
    bed.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(bed.claim(1).await.len(), 1);
}

pub(crate) async fn what_ended_is_not_claimed<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let manager = &bed.manager;
    let cancelled = bed.create().await.id;
    manager.cancel(&cancelled, None).await.unwrap();
    let started = bed.create().await.id;
    manager.start(&started).await.unwrap();
    let given_up = bed.create_with(|new| new.max_attempts(2)).await.id;
    manager.start(&given_up).await.unwrap();
    manager.fail(&given_up, Failure::new("no").retryable(true)).await.unwrap();
    manager.fail(&given_up, Failure::new("given up")).await.unwrap();
    bed.clock.advance(SECOND * 3600);
    assert!(bed.claim(10).await.is_empty());
    manager.retry(&given_up).await.unwrap();
    assert_eq!(bed.claim(10).await.iter().map(|execution| execution.id).collect::<Vec<_>>(), [given_up]);
}

/// By hand: nothing but the store has seen it.
pub(crate) async fn who_has_no_name_begins_nothing<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let before = bed.create().await;
    let claim = |worker: &str| Claim { worker: worker.to_owned(), ..claim_of(&[], 1) };
    let start = |worker: &str| vec![Write::new(before.id, Command::Start { holder: Some((worker.into(), LEASE)) })];
    let longest = "n".repeat(NAME_LEN_BYTES_MAX);
    for nobody in ["", &*format!("{longest}n"), "two\nlines"] {
        let refused = bed.store().claim(&claim(nobody)).await.unwrap_err();
        assert_eq!((refused.trouble, refused.written), (Trouble::Refused, Written::Nothing));
        assert_eq!(bed.store().update(start(nobody)).await.unwrap().remove(0).unwrap_err().code(), "INVALID_INPUT");
        assert_eq!(bed.store().settle(start(nobody)).await.unwrap().remove(0).unwrap_err().code(), "INVALID_INPUT");
        assert_eq!(bed.get(&before.id).await, before);
    }
    let no_time = Claim { lease: std::time::Duration::ZERO, ..claim("worker") };
    assert_eq!(bed.store().claim(&no_time).await.unwrap_err().trouble, Trouble::Refused);
    let claimed = bed.store().claim(&claim(&longest)).await.unwrap().remove(0);
    assert_eq!(bed.get(&before.id).await, claimed);
    assert_eq!(claimed.lease.expect("it is held").worker, *longest);
}
