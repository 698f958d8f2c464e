//! Values that steps carry: taken with bounds, kept as `MessagePack` with field names, shown as JSON.

mod decode;
mod digest;
mod encode;
mod map_key;
mod name;
mod redact;
mod taken;

use serde::Serialize;
use serde_json::Value;

use crate::site::Site;
pub use digest::{RedactionKeyInUse, set_redaction_key};
pub(crate) use encode::Limits;
use encode::{Fields, Writer};
use redact::Path;
pub use taken::Recorded;

/// `MessagePack` with field names, and what was done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Captured {
    /// Bytes that were encoded elsewhere.
    pub(crate) fn of(bytes: Vec<u8>, truncated: bool) -> Self {
        Self { bytes, truncated }
    }

    /// One value of the manual API. A unit (`()`) is nothing.
    pub(crate) fn one<T: Serialize + ?Sized>(value: &T, limits: Limits) -> Option<Self> {
        let mut writer = Writer::new(limits);
        writer.value(Path::root(), value);
        let captured = writer.finish();
        (captured.bytes != [encode::NIL]).then_some(captured)
    }

    /// The value as JSON. What cannot be said in JSON becomes text; what was cut is followed by no trace of itself,
    /// so ask [`is_truncated`](Self::is_truncated).
    pub(crate) fn to_json(&self) -> Value {
        decode::value(&self.bytes)
    }

    /// Whether something was left out because it was too large or too deep.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The encoded bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes the values of one step, by name.
#[derive(Debug)]
pub struct Values {
    fields: Fields,
}

impl Values {
    /// Records `value` as `name`. A value that fails to serialise is recorded as its error.
    pub fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.fields.field(name, value);
    }
}

/// Runs `fill` if recording is on.
#[inline]
pub fn values(site: &'static Site, fill: impl FnOnce(&mut Values)) -> Recorded {
    if !crate::switch::is_on() {
        return Recorded::none();
    }
    Recorded::taken(site.redact, fill)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Detail;
    use serde_json::json;

    fn capture<T: Serialize + ?Sized>(value: &T) -> Captured {
        let mut writer = Writer::new(Limits::default());
        writer.value(Path::root(), value);
        writer.finish()
    }

    /// What is recorded where this is redacted.
    fn hash_of<T: Serialize + ?Sized>(value: &T) -> Value {
        let mut writer = fields(&[]);
        writer.field("secret", value);
        finished(writer).to_json()["secret"].take()
    }

    fn fields(redacted: redact::Paths) -> Fields {
        let mut fields = Fields::new();
        fields.begin(redacted);
        fields
    }

    fn finished(mut fields: Fields) -> Captured {
        fields.end();
        Detail::read(fields.as_bytes().as_bytes()).unwrap().values.unwrap()
    }

    #[derive(Serialize)]
    struct Order {
        id: u64,
        total: f64,
        note: Option<&'static str>,
        tags: Vec<String>,
        kind: Kind,
        negative: i32,
    }

    #[derive(Serialize)]
    enum Kind {
        Plain,
        Gift(u8),
        Pair(u8, i64),
        Named { to: char },
    }

    #[test]
    fn values_read_back_as_serde_json_would_say_them() {
        let order = Order {
            id: u64::MAX,
            total: 0.1,
            note: None,
            tags: (0..70_000 / 1000).map(|n| "x".repeat(n)).collect(),
            kind: Kind::Gift(3),
            negative: -70_000,
        };
        assert_eq!(capture(&order).to_json(), serde_json::to_value(&order).unwrap());
        let kinds = [Kind::Plain, Kind::Pair(1, -1), Kind::Named { to: 'é' }];
        assert_eq!(capture(&kinds[..]).to_json(), serde_json::to_value(&kinds[..]).unwrap());
        let map = std::collections::BTreeMap::from([(1, 1.5_f32), (-2, f32::INFINITY)]);
        assert_eq!(capture(&map).to_json(), json!({"1": 1.5, "-2": null}));
        assert_eq!(capture(&u128::MAX).to_json(), json!(u128::MAX.to_string()));
        assert_eq!(capture(&0.1_f32).to_json(), json!(0.1));
    }

    /// What names it stands beside its content, or inside of it.
    #[test]
    fn secrets_of_tagged_enums_are_redacted() {
        #[derive(Serialize)]
        #[serde(tag = "type")]
        enum Inside {
            Password { value: &'static str },
            Plain { value: &'static str },
        }
        #[derive(Serialize)]
        #[serde(tag = "t", content = "c")]
        enum Beside {
            Password(&'static str),
            Plain(&'static str),
        }
        #[derive(Serialize)]
        #[serde(tag = "kind", content = "data")]
        enum Kind {
            Token { any: &'static str },
        }
        let secret = "hunter3";
        for shown in [
            capture(&Inside::Password { value: secret }).to_json(),
            capture(&Beside::Password(secret)).to_json(),
            capture(&Kind::Token { any: secret }).to_json(),
            capture(&json!({ "kind": "password", "value": secret })).to_json(),
            capture(&json!({ "value": secret, "tag": "api_key" })).to_json(),
            // Sorted, what names it comes last.
            capture(&json!({ "content": secret, "data": secret, "type": "password" })).to_json(),
            capture(&json!({ "c": secret, "value": secret, "zz": 1, "type": "password" })).to_json(),
        ] {
            let text = shown.to_string();
            assert!(text.contains("$redacted") && !text.contains(secret), "{text}");
        }
        assert_eq!(capture(&Inside::Plain { value: "v" }).to_json(), json!({ "type": "Plain", "value": "v" }));
        assert_eq!(capture(&Beside::Plain("v")).to_json(), json!({ "t": "Plain", "c": "v" }));
        assert_eq!(
            capture(&json!({ "data": 1, "content": 2, "c": 3 })).to_json(),
            json!({ "data": 1, "content": 2, "c": 3 })
        );
    }

    #[test]
    fn large_values_are_cut_and_say_so() {
        let long = capture(&"é".repeat(100_000));
        assert!(long.is_truncated());
        assert!(long.as_bytes().len() <= Limits::default().bytes + 64);
        assert!(long.to_json().as_str().unwrap().starts_with("éé"));
        let many = capture(&vec![json!({"name": "value", "rest": [1, 2, 3]}); 100_000]);
        assert!(many.is_truncated());
        let read = many.to_json();
        assert_eq!(read[0], json!({"name": "value", "rest": [1, 2, 3]}));
        assert!(read.as_array().unwrap().len() > 100);
    }

    /// Wherever the limit is, every name has its value, and what is there is as in the whole.
    #[test]
    fn a_cut_value_is_complete_as_far_as_it_goes() {
        #[derive(Serialize)]
        enum Change {
            Renamed { from: &'static str, to: Option<&'static str> },
            Moved(i32, [u16; 3]),
            Priced(f64),
            Closed,
        }
        #[derive(Serialize)]
        struct History {
            a_name_that_is_longer_than_those_that_are_kept: u32,
            first: Change,
            changes: Vec<Change>,
            last: Change,
        }
        let changes = || {
            let renamed = Change::Renamed { from: "a", to: None };
            [renamed, Change::Moved(-1, [1, 2, 3]), Change::Priced(0.5), Change::Closed]
        };
        let [first, last, ..] = changes();
        let changes = (0..3).flat_map(|_| changes()).collect();
        let history = History { a_name_that_is_longer_than_those_that_are_kept: 7, first, changes, last };
        let whole = capture(&history);
        for bytes in 0..whole.as_bytes().len() {
            let mut writer = Writer::new(Limits { bytes, ..Limits::default() });
            writer.value(Path::root(), &history);
            let cut = writer.finish();
            let read: Result<Value, _> = rmp_serde::from_slice(cut.as_bytes());
            assert_eq!(read.expect("a complete value"), cut.to_json(), "{bytes} bytes");
            assert!(cut.is_truncated() || cut == whole, "{bytes} bytes");
        }
    }

    #[test]
    fn deep_values_are_cut_and_say_so() {
        let mut value = json!(1);
        for _ in 0..1000 {
            value = json!([value]);
        }
        let deep = capture(&value);
        assert!(deep.is_truncated());
        assert!(deep.to_json().to_string().contains("…"));
    }

    struct Fails;

    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no such luck"))
        }
    }

    struct EndlessKey;

    impl Serialize for EndlessKey {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_some(self)
        }
    }

    struct EndlessKeyed;

    impl Serialize for EndlessKeyed {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(EndlessKey, 1)])
        }
    }

    #[test]
    fn a_key_that_nests_for_ever_is_an_error() {
        assert_eq!(capture(&EndlessKeyed).to_json(), json!({"$error": "a map key nests too deep"}));
    }

    struct Panics;

    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("inside Serialize")
        }
    }

    #[test]
    fn a_failing_value_is_its_error_and_harms_no_other() {
        let mut writer = fields(&[]);
        writer.field("before", &1);
        writer.field("fails", &[Fails]);
        writer.field("panics", &Panics);
        writer.field("after", &2);
        let read = finished(writer).to_json();
        assert_eq!(read["before"], 1);
        assert_eq!(read["fails"], json!({"$error": "no such luck"}));
        assert_eq!(read["panics"], json!({"$error": "its Serialize panicked"}));
        assert_eq!(read["after"], 2);
    }

    #[test]
    fn secrets_never_reach_the_bytes() {
        let login = json!({
            "user": "ann",
            "password": "hunter2",
            "headers": {"Authorization": "Bearer hunter2", "X-Api-Key": "hunter2", "accept": "*"},
            "secrets": [{"token": "hunter2", "zone": "hunter2"}, "hunter2"],
            "tokens_used": 12,
        });
        let captured = capture(&login);
        assert!(!String::from_utf8_lossy(captured.as_bytes()).contains("hunter2"));
        let read = captured.to_json();
        assert_eq!(read["user"], "ann");
        assert_eq!(read["password"], hash_of(&"hunter2"));
        assert_eq!(read["headers"]["accept"], "*");
        assert_eq!(read["secrets"], hash_of(&login["secrets"]));
        assert_eq!(read["tokens_used"], 12);
    }

    #[test]
    fn a_name_beside_a_value_says_whether_that_is_secret() {
        #[derive(Serialize)]
        struct Header(&'static str, &'static str);
        #[derive(Serialize)]
        struct Variable {
            name: &'static str,
            value: &'static str,
        }
        let pairs = [("authorization", "hunter2"), ("accept", "*")];
        let captured = capture(&(pairs, Header("X-Api-Key", "hunter2"), ["set-cookie", "hunter2"]));
        let gone = hash_of(&"hunter2");
        let expected = json!([[["authorization", gone], ["accept", "*"]], ["X-Api-Key", gone], ["set-cookie", gone]]);
        assert_eq!(captured.to_json(), expected);
        let variables = [
            Variable { name: "DB_PASSWORD", value: "hunter2" },
            Variable { name: "HOME", value: "/root" },
            Variable { name: "", value: "password" },
        ];
        let expected = json!([
            {"name": "DB_PASSWORD", "value": gone}, {"name": "HOME", "value": "/root"}, {"name": "", "value": "password"},
        ]);
        for _ in 0..2 {
            let mut writer = fields(&[]);
            writer.field("variables", &variables);
            assert_eq!(finished(writer).to_json()["variables"], expected);
        }
        assert_eq!(capture(&json!({"Key": "token", "Value": [1]})).to_json()["Value"], hash_of(&[1]));
        assert_eq!(capture(&json!({"about": "token", "value": 1})).to_json()["value"], 1);
        let mut writer = fields(&[]);
        writer.field("name", "password");
        writer.field("value", "hunter2");
        assert_eq!(finished(writer).to_json(), json!({"name": "password", "value": gone}));
        // In whatever order; but of what was written already there is no hash.
        assert_eq!(
            capture(&json!({"a": [{"b": 1}, 2.5], "name": "token", "value": 1})).to_json()["value"],
            hash_of(&1)
        );
        let late = json!({"KEY": 0, "VALUE": {"deep": [1, "hunter2"]}, "header": "cookie", "rest": [3]});
        let hidden = json!({"$redacted": true});
        let captured = capture(&[&late, &late]).to_json();
        for read in [&captured[0], &captured[1]] {
            assert_eq!(*read, json!({"KEY": 0, "VALUE": hidden, "header": "cookie", "rest": [3]}));
        }
        let mut writer = fields(&[]);
        writer.field("value", "hunter2");
        writer.field("name", "password");
        assert_eq!(finished(writer).to_json(), json!({"value": hidden, "name": "password"}));
        // What is cut off may have said so.
        let long = "x".repeat(Limits::default().bytes - 40);
        let cut = capture(&json!({"a": long, "value": "hunter2", "z": "hunter2 hunter2 hunter2", "zz": 1}));
        assert!(cut.truncated && cut.to_json()["value"] == hidden);
        let cut = capture(
            &json!([{"a": "x".repeat(Limits::default().bytes - 60), "VALUE": "hunter2", "name": "n".repeat(99)}]),
        );
        assert!(cut.truncated && cut.to_json()[0]["VALUE"] == hidden);
        let mut writer = fields(&[]);
        writer.field("value", &"x".repeat(Limits::default().bytes));
        writer.field("name", "password");
        assert_eq!(finished(writer).to_json(), json!({"value": hidden}));
        // Only the value itself is.
        let mut writer = fields(&[]);
        writer.field("key", "colour");
        writer.field("value", &"x".repeat(Limits::default().bytes * 2));
        assert!(finished(writer).to_json()["value"].as_str().unwrap().len() > Limits::default().bytes / 2);
        assert_eq!(capture(&json!({"VALUE": "hunter2", "Value": 2, "name": "token"})).to_json()["VALUE"], hidden);
        // What is no pair, and what is redacted as a whole.
        assert_eq!(capture(&("token", 1, 2)).to_json(), json!(["token", 1, 2]));
        assert!(are_equal(&("token", 1), &json!(["token", 1])));
    }

    #[test]
    fn newtypes_with_the_name_of_a_secret_are_redacted() {
        #[derive(Serialize)]
        struct Password(&'static str);
        #[derive(Serialize)]
        struct Meters(u8);
        let captured = capture(&(Password("hunter2"), Meters(3), Some(Password("hunter2"))));
        let gone = hash_of(&"hunter2");
        assert_eq!(captured.to_json(), json!([gone, 3, gone]));
        assert!(are_equal(&Password("hunter2"), "hunter2"));
    }

    #[test]
    fn named_paths_are_redacted() {
        let mut writer = fields(&["card", "customer.email"]);
        writer.field("card", "4242");
        writer.field("customer", &json!({"email": "a@b", "id": 7}));
        writer.field("others", &json!([{"card": "not this one"}]));
        assert_eq!(
            finished(writer).to_json(),
            json!({
                "card": hash_of(&"4242"),
                "customer": {"email": hash_of(&"a@b"), "id": 7},
                "others": [{"card": "not this one"}],
            })
        );
    }

    /// Rather too much than too little: how far down those are is not followed.
    #[test]
    fn a_path_that_32_others_stand_before_is_redacted_by_its_last_name() {
        let paths: &'static [&'static str] = Vec::leak([&["other"; 32][..], &["customer.email"]].concat());
        let mut writer = fields(paths);
        writer.field("customer", &json!({"email": "a@b", "id": 7}));
        writer.field("email", "c@d");
        let expected = json!({"customer": {"email": hash_of(&"a@b"), "id": 7}, "email": hash_of(&"c@d")});
        assert_eq!(finished(writer).to_json(), expected);
    }

    #[test]
    fn variants_are_no_fields_of_a_path_and_may_be_secrets() {
        #[derive(Serialize)]
        struct Card {
            number: u32,
        }
        #[derive(Serialize)]
        enum Method {
            New(Card),
            Known { number: u32 },
            Token { value: &'static str },
            Password(&'static str, u8),
            Bearer(&'static str),
        }
        let mut writer = fields(&["method.number"]);
        for method in [
            Method::New(Card { number: 4242 }),
            Method::Known { number: 4242 },
            Method::Token { value: "hunter2" },
            Method::Password("hunter2", 1),
            Method::Bearer("hunter2"),
        ] {
            writer.field("method", &method);
        }
        let captured = finished(writer);
        let text = String::from_utf8_lossy(captured.as_bytes());
        assert!(!text.contains("hunter2"));
        assert_eq!(text.matches("$redacted").count(), 5);
        assert!(!text.contains("true"));
        assert!(!captured.as_bytes().windows(2).any(|bytes| bytes == [0x10, 0x92]), "4242");
    }

    /// Whether the two stand for equal values; that each is a hash is asserted.
    fn are_equal<A: Serialize + ?Sized, B: Serialize + ?Sized>(a: &A, b: &B) -> bool {
        let [a, b] = [hash_of(a), hash_of(b)].map(|hash| hash["$redacted"].as_str().unwrap().to_owned());
        assert_eq!((a.len(), &a[..9]), (25, &b[..9]), "both under the key of the process");
        a == b
    }

    #[test]
    fn equal_secrets_have_equal_hashes() {
        assert!(are_equal("hunter2", &"hunter2".to_owned()));
        assert!(are_equal(&7_u8, &7_i64));
        assert!(are_equal(&Some([1, 2]), &vec![1, 2]));
        assert!(are_equal(&json!({"a": 1, "token": "x"}), &json!({"token": "x", "a": 1})));
        // Each map has an order of its own.
        let map = || (0..100).map(|n| (n, n)).collect::<std::collections::HashMap<_, _>>();
        assert!(are_equal(&map(), &map()));
    }

    #[test]
    fn different_secrets_have_different_hashes() {
        let all = [
            json!(null),
            json!(0),
            json!(""),
            json!("0"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([[], []]),
            json!([[[]]]),
            json!([[1], 2]),
            json!([[1, 2]]),
            json!([1, 2]),
            json!([2, 1]),
            json!(["ab", "c"]),
            json!(["a", "bc"]),
            json!({"a": 1}),
            json!({"a": 2}),
            json!({"b": 1}),
            json!({"a": 1, "b": 2}),
            json!({"a": 2, "b": 1}),
            json!({"a": {"b": 1}}),
            json!({"a": {}, "b": 1}),
            json!([{"a": 1}, {}]),
            json!([{}, {"a": 1}]),
            json!(true),
            json!({"token": "x"}),
            json!({"token": "y"}),
            json!("x".repeat(1000)),
            json!("x".repeat(1001)),
        ];
        for (nth, one) in all.iter().enumerate() {
            for other in &all[..nth] {
                assert!(!are_equal(one, other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn what_is_not_taken_whole_has_no_hash() {
        let gone = json!({"$redacted": true});
        let long = |len| "x".repeat(len);
        assert_ne!(hash_of(&long(60_000)), gone);
        assert_eq!(hash_of(&long(70_000)), gone);
        assert_eq!(hash_of(&vec![1; 70_000]), gone);
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(hash_of(&deep), gone);
        assert_eq!(hash_of(&EndlessKey), gone);
        assert_eq!(hash_of(&EndlessKeyed), gone);
        assert_eq!(hash_of(&[Fails]), gone);
        assert_eq!(hash_of(&Panics), gone);
    }

    #[test]
    fn a_secret_that_fails_harms_nothing_around_it() {
        #[derive(Serialize)]
        enum Method {
            Token { value: Fails, rest: u8 },
            Password(Panics, u8),
        }
        #[derive(Serialize)]
        struct Around {
            before: u8,
            token: [Fails; 2],
            secret: (u8, Panics),
            token_of: (Method, Method),
            after: [u8; 2],
        }
        let around = Around {
            before: 1,
            token: [Fails, Fails],
            secret: (1, Panics),
            token_of: (Method::Token { value: Fails, rest: 1 }, Method::Password(Panics, 1)),
            after: [2, 3],
        };
        let gone = json!({"$redacted": true});
        let captured = capture(&around);
        assert_eq!(
            captured.to_json(),
            json!({
                "before": 1, "token": gone, "secret": gone, "after": [2, 3],
                "token_of": [{"Token": gone}, {"Password": gone}],
            })
        );
        assert!(!captured.is_truncated());
    }
}
