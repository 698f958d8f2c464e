//! Which values are recorded: none, unless asked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracer::test::record;
use tracer::{Status, traced_node};

use crate::drive::{run, steps};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    id: u32,
    card: Card,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Card {
    number: String,
    holder: String,
}

/// No bound is met.
struct Opaque;

fn order() -> Order {
    Order { id: 7, card: Card { number: "4711".into(), holder: "Ada".into() } }
}

/// What enters and ends carried.
fn values<R>(work: impl FnOnce() -> R) -> Vec<Value> {
    let recording = record(|| drop(work()));
    steps(&recording.records()).into_iter().map(|step| step.values.clone()).collect()
}

#[test]
fn nothing_is_recorded_unless_asked() {
    #[traced_node]
    fn asked_nothing(order: &Order, opaque: Opaque) -> Result<u32, Opaque> {
        let _ = opaque;
        Ok(order.id)
    }
    #[traced_node(err = none)]
    async fn asked_nothing_later(order: Order) -> Result<Order, Opaque> {
        Ok(order)
    }
    assert_eq!(values(|| asked_nothing(&order(), Opaque)), [Value::Null, Value::Null]);
    assert_eq!(values(|| run(asked_nothing_later(order()))), [Value::Null, Value::Null]);
}

#[test]
fn nothing_is_asked_of_what_is_not_recorded() {
    /// Counts how often it is looked at.
    struct Counts<'a>(&'a std::cell::Cell<u32>);

    impl Serialize for Counts<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            serializer.serialize_unit()
        }
    }
    #[traced_node]
    fn unrecorded(counts: &Counts<'_>) {
        let _ = counts;
    }
    #[traced_node(record)]
    fn recorded(counts: &Counts<'_>) {
        let _ = counts;
    }
    let looks = std::cell::Cell::new(0);
    record(|| unrecorded(&Counts(&looks)));
    assert_eq!(looks.get(), 0);
    record(|| recorded(&Counts(&looks)));
    assert_eq!(looks.get(), 1);
}

#[test]
fn record_takes_the_arguments_as_they_come_in() {
    #[traced_node(record)]
    fn all(order: &Order, mut number: u32, text: &str, list: &[u8]) -> u32 {
        number += order.id;
        let _ = (text, list);
        number
    }
    #[traced_node(record)]
    async fn all_later(order: Order, number: &mut u32) {
        *number += order.id;
    }
    let card = json!({"number": "4711", "holder": "Ada"});
    assert_eq!(
        values(|| all(&order(), 1, "x", &[1, 2])),
        [json!({"order": {"id": 7, "card": card}, "number": 1, "text": "x", "list": [1, 2]}), Value::Null]
    );
    assert_eq!(
        values(|| run(all_later(order(), &mut 1))),
        [json!({"order": {"id": 7, "card": card}, "number": 1}), Value::Null]
    );
}

#[test]
fn patterns_give_what_they_bind() {
    struct Pair {
        first: u32,
        second: Vec<String>,
    }
    #[traced_node(record)]
    fn patterns(
        (a, mut b): (u32, &u32),
        Pair { first, second: ref all }: Pair,
        [head, ..]: [u8; 3],
        _: Opaque,
        &(c, _): &(u32, [u8; 16]),
        d @ 0..: u32,
    ) -> u32 {
        b = if a == 0 { b } else { &0 };
        *b + first + u32::from(head) + c + d + all.iter().map(|text| u32::from(text.is_empty())).sum::<u32>()
    }
    let pair = Pair { first: 3, second: vec!["x".into()] };
    assert_eq!(
        values(|| patterns((1, &2), pair, [4, 5, 6], Opaque, &(7, [0; 16]), 8))[0],
        json!({"a": 1, "b": 2, "first": 3, "all": ["x"], "head": 4, "c": 7, "d": 8})
    );
}

#[test]
fn a_list_takes_some_and_the_result() {
    #[traced_node(record(b, ret))]
    fn some(a: Opaque, b: u32) -> Result<u32, Opaque> {
        let _ = a;
        if b == 0 { Err(Opaque) } else { Ok(b + 1) }
    }
    #[traced_node(record(ret))]
    async fn result() -> Option<Order> {
        Some(order())
    }
    #[traced_node(record(ret))]
    fn plain() -> u32 {
        5
    }
    assert_eq!(values(|| some(Opaque, 1)), [json!({"b": 1}), json!({"ret": 2})]);
    assert_eq!(values(|| some(Opaque, 0)), [json!({"b": 0}), json!({})]);
    assert_eq!(values(|| run(result()))[1], json!({"ret": order()}));
    assert_eq!(values(plain)[1], json!({"ret": 5}));
}

impl Order {
    #[traced_node(record(self, by, ret))]
    fn total(&self, by: u32) -> u32 {
        self.id * by
    }

    #[traced_node(record)]
    fn unlisted(self, by: u32) -> u32 {
        self.id * by
    }
}

#[test]
fn a_method_records_its_self_where_it_is_listed() {
    let all = values(|| (order().total(2), order().unlisted(3)));
    assert_eq!(all[..2], [json!({"self": order(), "by": 2}), json!({"ret": 14})]);
    assert_eq!(all[2..], [json!({"by": 3}), Value::Null]);
}

#[test]
fn skip_leaves_out_what_cannot_be_recorded() {
    #[traced_node(record, skip(opaque, text))]
    fn skips(number: u32, opaque: Opaque, text: &str) {
        let _ = (number, opaque, text);
    }
    assert_eq!(values(|| skips(1, Opaque, "x"))[0], json!({"number": 1}));
}

/// What stands there for a redacted value, which is a hash.
fn hash_in(values: &[Value], pointer: &str) -> Value {
    let (at, pointer) = pointer[1..].split_once('/').unwrap();
    let found = values[at.parse::<usize>().unwrap()].pointer(&format!("/{pointer}")).unwrap();
    assert!(found["$redacted"].as_str().is_some_and(|hash| hash.len() == 25), "{found}");
    found.clone()
}

#[test]
fn redact_replaces_a_value_or_a_part_of_it() {
    #[traced_node(record(order, pin, ret), redact(order.card.number, pin, ret.card))]
    fn pay(order: Order, pin: &str) -> Result<Order, Opaque> {
        let _ = pin;
        Ok(order)
    }
    let all = values(|| pay(order(), "1234"));
    let (number, pin, card) =
        (hash_in(&all, "/0/order/card/number"), hash_in(&all, "/0/pin"), hash_in(&all, "/1/ret/card"));
    assert_eq!(
        all,
        [
            json!({"order": {"id": 7, "card": {"number": number, "holder": "Ada"}}, "pin": pin}),
            json!({"ret": {"id": 7, "card": card}}),
        ]
    );
    assert!(number != pin && number != card && pin != card);
    let again = values(|| pay(order(), "1235"));
    assert_eq!(hash_in(&again, "/0/order/card/number"), number, "the same number");
    assert_ne!(hash_in(&again, "/0/pin"), pin, "another pin");
}

#[test]
fn redact_names_elements_by_their_number_and_passes_through_lists() {
    #[derive(Serialize)]
    struct Number(u32);

    #[traced_node(record, redact(pair.1, nested.0.1, list.0.card, all.card, number.0))]
    fn elements(pair: (u32, u32), nested: ((u32, u32), u32), list: &[Order], all: &[Order], number: Number) {
        let _ = (pair, nested, list, all, number.0);
    }
    let all = values(|| elements((1, 2), ((3, 4), 5), &[order(), order()], &[order(), order()], Number(6)));
    let [two, four, card, six] =
        ["/0/pair/1", "/0/nested/0/1", "/0/list/0/card", "/0/number"].map(|at| hash_in(&all, at));
    assert_eq!(
        all[0],
        json!({
            "pair": [1, two],
            "nested": [[3, four], 5],
            "list": [{"id": 7, "card": card}, order()],
            "all": [{"id": 7, "card": card}, {"id": 7, "card": card}],
            "number": six,
        })
    );
}

#[test]
fn secrets_are_redacted_without_being_named() {
    #[traced_node(record)]
    fn login(user: &str, password: &str) {
        let _ = (user, password);
    }
    let all = values(|| login("ada", "1815"));
    assert_eq!(all[0], json!({"user": "ada", "password": hash_in(&all, "/0/password")}));
}

#[test]
fn arguments_that_are_conditional_are_recorded_under_their_condition() {
    #[traced_node(record)]
    fn conditional(#[cfg(not(test))] absent: Absent, #[cfg(test)] present: u32) {
        let _ = present;
    }
    assert_eq!(values(|| conditional(3))[0], json!({"present": 3}));
}

#[test]
fn a_value_that_refuses_to_be_written_is_recorded_as_its_refusal() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not me"))
        }
    }
    #[traced_node(record)]
    fn refused(value: Refuses, number: u32) -> u32 {
        let _ = value;
        number
    }
    let all = values(|| refused(Refuses, 3));
    assert!(all[0]["value"].to_string().contains("not me"), "{}", all[0]);
    assert_eq!(all[0]["number"], 3);
}

#[test]
fn an_entry_records_what_it_was_called_with_and_gave() {
    #[traced_node(entry)]
    async fn handle(order: Order, text: &str, ids: &[u32]) -> Result<u32, Opaque> {
        let _ = (text, ids);
        Ok(order.id)
    }
    assert_eq!(
        values(|| run(handle(order(), "x", &[1]))),
        [json!({"order": order(), "text": "x", "ids": [1]}), json!({"ret": 7})]
    );
}

#[test]
fn an_effect_records_what_it_gave() {
    #[traced_node(effect)]
    fn charge(opaque: Opaque) -> Result<Order, Opaque> {
        let _ = opaque;
        Ok(order())
    }
    #[traced_node(effect)]
    async fn charge_later() -> u32 {
        3
    }
    assert_eq!(values(|| charge(Opaque)), [Value::Null, json!({"ret": order()})]);
    assert_eq!(values(|| run(charge_later())), [Value::Null, json!({"ret": 3})]);
}

#[test]
fn a_generic_argument_is_recorded_by_its_own_bound() {
    #[traced_node(record(value))]
    fn generic<T: Serialize, U>(value: T, other: U) -> (T, U) {
        (value, other)
    }
    #[traced_node(record)]
    fn implicit(value: impl Serialize) {
        let _ = value;
    }
    assert_eq!(values(|| generic(order(), Opaque))[0], json!({"value": order()}));
    assert_eq!(values(|| implicit([1, 2]))[0], json!({"value": [1, 2]}));
}

#[test]
fn values_stand_on_the_step_they_belong_to() {
    #[traced_node(record(number, ret))]
    fn fails(number: u32) -> Result<u32, String> {
        Err(number.to_string())
    }
    let recording = record(|| fails(1));
    let records = recording.records();
    let all: Vec<_> = steps(&records).into_iter().map(|step| (step.status, step.values.clone())).collect();
    assert_eq!(all[0], (Status::Enter, json!({"number": 1})));
    assert_eq!(all[1].0, Status::Error);
}
