//! Creation, and idempotency keys.

use std::time::Duration;

use serde_json::{Value, json};
use tracer::execution::{
    Created, ExecutionStatus, ExecutionStore, ListOptions, NewExecution, RetryPolicy, Timestamp, VALUE_DEPTH_MAX,
};

use super::code;
use crate::bed::Bed;

pub(crate) async fn what_is_created_is_pending_and_found<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let parent = bed.create().await;
    let new = NewExecution::new("send-invoice")
        .payload(json!({ "order": 17 }))
        .max_attempts(3)
        .timeout(Duration::from_millis(1500))
        .idempotency_key("invoice-17")
        .parent(parent.id)
        .metadata("tenant", "acme")
        .priority(-3)
        .delay(Duration::from_secs(60))
        .retry(RetryPolicy::new(Duration::from_millis(20), Duration::from_secs(2)).without_jitter());
    let created = bed.manager.create(new).await.unwrap();
    let now = Timestamp::now(&bed.clock);
    assert_eq!(created.type_, "send-invoice");
    assert_eq!(created.status, ExecutionStatus::Pending);
    assert_eq!(created.payload, json!({ "order": 17 }));
    assert_eq!((created.attempts, created.max_attempts), (0, 3));
    assert_eq!((created.version, created.epoch), (1, 0));
    assert_eq!(created.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(created.idempotency_key.as_deref(), Some("invoice-17"));
    assert_eq!(created.parent_id, Some(parent.id));
    assert_eq!(created.metadata["tenant"], "acme");
    assert_eq!(created.priority, -3);
    assert_eq!((created.created_at, created.updated_at), (now, now));
    assert_eq!(created.run_at, now.after(Duration::from_secs(60)));
    assert_eq!((created.started_at, created.completed_at), (None, None));
    assert_eq!(created.retry.cap, Duration::from_secs(2));
    assert_eq!((&created.result, &created.error, &created.progress, &created.lease), (&None, &None, &None, &None));
    assert_eq!(bed.get(&created.id).await, created);
    assert_eq!(bed.manager.find_by_idempotency_key("invoice-17").await.unwrap(), Some(created));
    assert_eq!(bed.manager.find_by_idempotency_key("invoice-18").await.unwrap(), None);
    assert_eq!(parent.max_attempts, 1, "unless given");
}

pub(crate) async fn the_same_key_finds_the_first_untouched<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let new = || NewExecution::new("work").payload(0.1 + 0.2).idempotency_key("once");
    let first = bed.manager.create(new()).await.unwrap();
    let running = bed.manager.start(&first.id).await.unwrap();
    bed.clock.advance(Duration::from_secs(1));
    let again = bed.manager.create(new().max_attempts(9).metadata("ignored", true).priority(5)).await.unwrap();
    assert_eq!(again, running);
    assert_eq!(bed.get(&first.id).await, running);
    let ended = bed.manager.complete(&first.id, "done").await.unwrap();
    assert_eq!(bed.manager.create(new()).await.unwrap(), ended);
    // Without a key, each is another one.
    let (one, other) = (bed.create().await, bed.create().await);
    assert_ne!(one.id, other.id);
}

pub(crate) async fn another_type_or_payload_under_a_key_is_a_mismatch<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let new = |type_: &str, payload: Value| NewExecution::new(type_).payload(payload).idempotency_key("key");
    let first = bed.manager.create(new("work", json!({ "a": 1 }))).await.unwrap();
    let other_type = bed.manager.create(new("other", json!({ "a": 1 }))).await;
    assert!(other_type.as_ref().is_err_and(|error| error.to_string().contains(&first.id.to_string())));
    assert_eq!(code(other_type), "IDEMPOTENCY_MISMATCH");
    for payload in [json!({ "a": 2 }), json!({ "a": 1.0 }), json!({ "a": 1, "b": null }), json!({}), Value::Null] {
        assert_eq!(code(bed.manager.create(new("work", payload)).await), "IDEMPOTENCY_MISMATCH");
    }
    assert_eq!(bed.get(&first.id).await, first);
    // The order of fields is none of a payload's.
    let (ab, ba) = (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#);
    let keyed = |text: &str| {
        let payload: Value = serde_json::from_str(text).unwrap();
        NewExecution::new("work").payload(payload).idempotency_key("fields")
    };
    let first = bed.manager.create(keyed(ab)).await.unwrap();
    assert_eq!(bed.manager.create(keyed(ba)).await.unwrap(), first);
}

pub(crate) async fn keys_are_compared_byte_by_byte<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let long = "k".repeat(255);
    let longer_by_one = format!("{}l", &long[1..]);
    let keys = [
        "key",
        "Key",
        "key ",
        " key",
        "ke\u{301}y",
        "k\u{e9}y",
        "kéy",
        "ключ",
        "😀",
        "%",
        "_",
        "'",
        &long,
        &longer_by_one,
    ];
    let mut made: Vec<(&str, _)> = Vec::new();
    for key in keys {
        let execution = bed.create_with(|new| new.idempotency_key(key)).await;
        let before = made.iter().find(|(known, _)| *known == key).map(|(_, id)| *id);
        assert_eq!(before.unwrap_or(execution.id), execution.id, "{key:?}");
        assert!(before.is_some() || made.iter().all(|(_, id)| *id != execution.id), "{key:?} was taken for another");
        made.push((key, execution.id));
    }
    for (key, id) in made {
        let found = bed.manager.find_by_idempotency_key(key).await.unwrap();
        assert_eq!(found.map(|found| found.id), Some(id), "{key:?}");
    }
}

pub(crate) async fn the_same_id_is_the_same_creation<S: ExecutionStore + 'static>(bed: Bed<S>) {
    // A creation as it reaches the store, twice: a reply was lost, and the call repeated.
    let creates = vec![bed.manager.prepare(NewExecution::new("work").payload("twice")).unwrap()];
    let first = bed.store().create(creates.clone()).await.unwrap();
    bed.clock.advance(Duration::from_secs(1));
    let again = bed.store().create(creates).await.unwrap();
    let [Created::New(first)] = &first[..] else { panic!("{first:?}") };
    let [Created::Existing(again)] = &again[..] else { panic!("{again:?}") };
    assert_eq!(again, first);
    // In one batch, beside others: as if one after the other.
    for key in [None, Some("a key")] {
        let new = |number: u32| {
            let new = NewExecution::new("work").payload(number);
            bed.manager.prepare(if let Some(key) = key { new.idempotency_key(format!("{key} {number}")) } else { new })
        };
        let (one, other) = (new(1).unwrap(), new(2).unwrap());
        let created = bed.store().create(vec![one.clone(), other, one]).await.unwrap();
        let [first, _, Created::Existing(again)] = &created[..] else { panic!("{created:?}") };
        assert_eq!(again, &first.clone().into_execution());
        assert_eq!(bed.get(&again.id).await, *again);
    }
}

pub(crate) async fn a_batch_is_created_in_order<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let new = |number: usize| NewExecution::new("work").payload(number);
    let batch = (0..50).map(|number| match number {
        // Two of a kind in one batch, and two with one key that are not.
        10 | 11 => new(10).idempotency_key("ten"),
        20 | 21 => new(number).idempotency_key("twenty"),
        _ => new(number),
    });
    let created = bed.manager.create_all(batch.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(created.len(), 50);
    for (number, created) in created.iter().enumerate() {
        match number {
            11 => assert_eq!(created.as_ref().unwrap().payload, 10),
            21 => assert_eq!(created.as_ref().unwrap_err().code(), "IDEMPOTENCY_MISMATCH"),
            _ => assert_eq!(created.as_ref().unwrap().payload, number),
        }
    }
    assert_eq!(created[10].as_ref().unwrap(), created[11].as_ref().unwrap());
    assert!(bed.manager.create_all(Vec::new()).await.unwrap().is_empty());
}

pub(crate) async fn values_come_back_as_they_were<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let mut nested = json!("the end");
    for _ in 0..VALUE_DEPTH_MAX {
        nested = json!([nested]);
    }
    let values = [
        json!(null),
        json!(true),
        json!(""),
        json!("\u{0}\u{1}\u{1f}\"\\\u{2028}\u{fffd}😀"),
        json!([]),
        json!({}),
        json!({ "": { "ключ": [1, "two", null, { "three": 3.5 }] }, "$type": "x", "'; drop table": "--" }),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(9_007_199_254_740_993_u64),
        json!(-0.0),
        json!(0.1 + 0.2),
        json!(f64::MAX),
        json!(5e-324),
        json!(2.225_073_858_507_201_4e-308),
        json!(1.000_000_000_000_000_2),
        json!("x".repeat(90_000)),
        nested,
    ];
    for value in values {
        let new = NewExecution::new("work").payload(&value).metadata("value", &value);
        let created = bed.manager.create(new).await.unwrap();
        let id = &created.id;
        bed.manager.start(id).await.unwrap();
        bed.manager.checkpoint(id, "value", &value).await.unwrap();
        let completed = bed.manager.complete(id, &value).await.unwrap();
        let found = bed.get(id).await;
        assert_eq!(found, completed);
        assert_eq!((&found.payload, &found.metadata["value"], &found.checkpoints["value"]), (&value, &value, &value));
        // `null` is the same as nothing.
        assert_eq!(found.result, Some(value).filter(|value| !value.is_null()));
    }
}

pub(crate) async fn wrong_input_is_refused<S: ExecutionStore + 'static>(bed: Bed<S>) {
    let long = "x".repeat(256);
    let deep = (0..=VALUE_DEPTH_MAX).fold(json!("the end"), |deep, _| json!([deep]));
    for (new, found) in [
        (NewExecution::new(""), "expected a type of 1 to 255 bytes, found 0"),
        (NewExecution::new(&long), "expected a type of 1 to 255 bytes, found 256"),
        (NewExecution::new("a\nb"), "expected a type without control characters, found one at character 1"),
        (NewExecution::new("a\0"), "expected a type without control characters, found one at character 1"),
        (NewExecution::new("work").idempotency_key(""), "expected an idempotency key of 1 to 255 bytes, found 0"),
        (NewExecution::new("work").max_attempts(0), "expected at least 1 attempt, found 0"),
        (NewExecution::new("work").timeout(Duration::ZERO), "expected a duration of at least 1 ms, found 0"),
        (NewExecution::new("work").timeout(Duration::from_micros(9)), "expected a duration of at least 1 ms, found 0"),
        (
            NewExecution::new("work").payload(std::collections::BTreeMap::from([(vec![1], 1)])),
            "the payload cannot be written as JSON: key must be a string",
        ),
        (
            NewExecution::new("work").payload(deep),
            "expected the payload to have at most 100 arrays and objects in each other, found more",
        ),
    ] {
        let error = bed.manager.create(new).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{found} [INVALID_INPUT]"));
    }
    let running = bed.create().await.id;
    bed.manager.start(&running).await.unwrap();
    let before = bed.get(&running).await;
    for key in ["", &long, "a\tb"] {
        assert_eq!(code(bed.manager.checkpoint(&running, key, 1).await), "INVALID_INPUT");
    }
    assert_eq!(bed.get(&running).await, before);
    assert_eq!(bed.manager.list(ListOptions::new()).await.unwrap().len(), 1, "nothing else was written");
}
