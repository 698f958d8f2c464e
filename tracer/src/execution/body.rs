//! An execution as stores keep it: the JSON that people see, without what follows from the rest.
//!
//! It is written anew with each change, so its length is what a change costs: names are short, instants are milliseconds,
//! what is as it is unless said is left out, and ids of traces are computed from the execution and the epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::Failure;
use super::history::{AttemptEnd, AttemptRecord};
use super::progress::Progress;
use super::record::{Execution, Lease, LeaseTerms};
use super::retry::RetryPolicy;
use super::status::ExecutionStatus;
use super::timestamp::{Timestamp, ms};
use super::worker::WorkerName;
use crate::id::{EnvId, ExecutionId, TraceId};

/// Room for one that has ended at the first attempt, so that most texts are allocated once.
const LEN_USUAL: usize = 384;

/// The text of an execution, without payload, result and checkpoints.
pub(super) fn write(execution: &Execution) -> String {
    let mut text = Vec::with_capacity(LEN_USUAL);
    Body::serialize(execution, &mut serde_json::Serializer::new(&mut text)).expect("strings, numbers and JSON");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// The execution in a text; payload, result and checkpoints are empty.
pub(super) fn read(text: &[u8]) -> serde_json::Result<Execution> {
    let mut read = serde_json::Deserializer::from_slice(text);
    match Body::deserialize(&mut read).and_then(|execution| read.end().map(|()| execution)) {
        Ok(mut execution) => {
            for attempt in &mut execution.history {
                let token = Lease { id: execution.id, epoch: attempt.epoch };
                (attempt.trace_id, attempt.env_id) = (token.trace_id(), token.env_id());
            }
            Ok(execution)
        }
        // As people see it: so it was written before there was this form.
        Err(error) => serde_json::from_slice(text).map_err(|_| error),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Execution")]
struct Body {
    id: ExecutionId,
    #[serde(rename = "type")]
    type_: String,
    status: ExecutionStatus,
    #[serde(skip)]
    payload: Value,
    #[serde(skip)]
    result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    attempts: u32,
    #[serde(rename = "max")]
    max_attempts: u32,
    #[serde(rename = "created", with = "unix_ms")]
    created_at: Timestamp,
    #[serde(rename = "updated", with = "unix_ms")]
    updated_at: Timestamp,
    #[serde(rename = "started", default, with = "unix_ms::option", skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(rename = "completed", default, with = "unix_ms::option", skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    #[serde(default, with = "ms::option", skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(rename = "key", default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(rename = "parent", default, skip_serializing_if = "Option::is_none")]
    parent_id: Option<ExecutionId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Value>,
    #[serde(skip)]
    checkpoints: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(default, skip_serializing_if = "is_default")]
    priority: i16,
    #[serde(rename = "run", with = "unix_ms")]
    run_at: Timestamp,
    #[serde(default, skip_serializing_if = "is_default")]
    retry: RetryPolicy,
    #[serde(rename = "delay", default, with = "ms::option", skip_serializing_if = "Option::is_none")]
    retry_delay: Option<Duration>,
    #[serde(rename = "cancel", default, skip_serializing_if = "is_default")]
    cancel_requested: bool,
    version: u64,
    epoch: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    reserved: bool,
    #[serde(default, with = "lease", skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseTerms>,
    #[serde(default, skip_serializing_if = "is_default")]
    redrives: u32,
    #[serde(default, with = "history", skip_serializing_if = "Vec::is_empty")]
    history: Vec<AttemptRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AttemptRecord")]
#[expect(clippy::struct_field_names, reason = "the names of the other")]
struct Attempt {
    attempt: u32,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<WorkerName>,
    #[serde(rename = "from", with = "unix_ms")]
    started_at: Timestamp,
    #[serde(rename = "to", default, with = "unix_ms::option", skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<AttemptEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip, default = "unknown_trace")]
    trace_id: TraceId,
    #[serde(skip, default = "unknown_env")]
    env_id: EnvId,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LeaseTerms")]
struct Terms {
    worker: WorkerName,
    #[serde(with = "unix_ms")]
    until: Timestamp,
}

/// Until [`read`] knows of which execution it is.
fn unknown_trace() -> TraceId {
    TraceId::odd(0)
}

/// Likewise.
fn unknown_env() -> EnvId {
    EnvId::odd(0)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

mod unix_ms {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::execution::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.unix_ms())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_unix_ms)
    }

    pub(super) mod option {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        use crate::execution::Timestamp;

        #[expect(clippy::ref_option, reason = "the form that serde calls")]
        pub(in super::super) fn serialize<S: Serializer>(
            at: &Option<Timestamp>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            at.map(Timestamp::unix_ms).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp::from_unix_ms))
        }
    }
}

mod lease {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{LeaseTerms, Terms};

    struct Shown<'a>(&'a LeaseTerms);

    impl Serialize for Shown<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Terms::serialize(self.0, serializer)
        }
    }

    #[derive(Deserialize)]
    struct Read(#[serde(with = "Terms")] LeaseTerms);

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(lease: &Option<LeaseTerms>, serializer: S) -> Result<S::Ok, S::Error> {
        lease.as_ref().map(Shown).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LeaseTerms>, D::Error> {
        Ok(Option::<Read>::deserialize(deserializer)?.map(|Read(lease)| lease))
    }
}

mod history {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Attempt, AttemptRecord};

    struct Shown<'a>(&'a AttemptRecord);

    impl Serialize for Shown<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Attempt::serialize(self.0, serializer)
        }
    }

    #[derive(Deserialize)]
    struct Read(#[serde(with = "Attempt")] AttemptRecord);

    pub(super) fn serialize<S: Serializer>(history: &[AttemptRecord], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(history.iter().map(Shown))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AttemptRecord>, D::Error> {
        Ok(Vec::<Read>::deserialize(deserializer)?.into_iter().map(|Read(attempt)| attempt).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Failure;
    use serde_json::json;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_ms(1_700_000_000_000 + ms)
    }

    /// One that has everything but what a body leaves out.
    fn full() -> Execution {
        let id = ExecutionId::new(7 << 100).unwrap();
        let attempt = |epoch, end| {
            let token = Lease { id, epoch };
            AttemptRecord {
                attempt: 2,
                epoch,
                worker: Some("w".into()),
                started_at: at(3),
                ended_at: end,
                end: end.map(|_| AttemptEnd::Failed),
                error: end.map(|_| Failure::new("no").code("c")),
                trace_id: token.trace_id(),
                env_id: token.env_id(),
            }
        };
        Execution {
            id,
            type_: "a \"type\"".to_owned(),
            status: ExecutionStatus::Running,
            payload: Value::Null,
            result: None,
            error: Some(Failure::new("no").retryable(true).retry_after(Duration::from_millis(9))),
            attempts: 2,
            max_attempts: 5,
            created_at: at(0),
            updated_at: at(1),
            started_at: Some(at(2)),
            completed_at: Some(at(3)),
            timeout: Some(Duration::from_millis(11)),
            idempotency_key: Some("key".to_owned()),
            parent_id: ExecutionId::new(3),
            metadata: [("m".to_owned(), json!({ "n": 1.5 }))].into(),
            checkpoints: BTreeMap::new(),
            progress: Some(Progress::new(1, 3)),
            priority: -4,
            run_at: at(5),
            retry: RetryPolicy::new(Duration::from_millis(1), Duration::from_millis(2)).without_jitter(),
            retry_delay: Some(Duration::from_millis(12)),
            cancel_requested: true,
            version: u64::MAX,
            epoch: 8,
            reserved: true,
            lease: Some(LeaseTerms { worker: "w".into(), until: at(6) }),
            redrives: 2,
            history: vec![attempt(7, Some(at(4))), attempt(8, None)],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let full = full();
        assert_eq!(read(write(&full).as_bytes()).unwrap(), full);
    }

    #[test]
    fn what_people_see_is_read_too() {
        let full = full();
        assert_eq!(read(serde_json::to_string(&full).unwrap().as_bytes()).unwrap(), full);
    }

    #[test]
    fn what_goes_without_saying_is_left_out() {
        let Execution { id, type_, status, attempts, created_at, updated_at, run_at, .. } = full();
        let plain = json!({
            "id": id, "type": type_, "status": status, "attempts": attempts, "maxAttempts": 5,
            "createdAt": created_at, "updatedAt": updated_at, "runAt": run_at, "version": 1, "epoch": 0,
        });
        let plain: Execution = serde_json::from_value(plain).unwrap();
        let expected = concat!(
            r#"{"id":"00000070000000000000000000000000","type":"a \"type\"","status":"running","attempts":2,"max":5,"#,
            r#""created":1700000000000,"updated":1700000000001,"run":1700000000005,"version":1,"epoch":0}"#
        );
        assert_eq!(write(&plain), expected);
        assert_eq!(read(expected.as_bytes()).unwrap(), plain);
    }

    #[test]
    fn what_a_later_version_adds_is_skipped_and_what_is_no_execution_is_refused() {
        let text = write(&full());
        assert_eq!(read(text.replacen('{', r#"{"later":[1,{}],"#, 1).as_bytes()).unwrap(), full());
        assert!(read(text.replace("running", "walking").as_bytes()).unwrap_err().to_string().contains("walking"));
        assert!(read(format!("{text} and more").as_bytes()).is_err());
        assert!(read(&text.as_bytes()[..text.len() - 1]).is_err());
    }
}
