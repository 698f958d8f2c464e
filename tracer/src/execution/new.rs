//! What is asked for when an execution is created, and its checks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::error::{ExecutionError, ExecutionErrorKind, InvalidInput};
use super::record::Execution;
use super::retry::RetryPolicy;
use super::status::ExecutionStatus;
use super::store::Created;
use super::timestamp::{Timestamp, millis, whole_millis};
use crate::id::ExecutionId;

/// The longest type, idempotency key, checkpoint key and worker's name, in bytes of UTF-8. Every store can index that.
pub const NAME_LEN_BYTES_MAX: usize = 255;

/// How many arrays and objects may lie in each other in a payload, a result or a checkpoint: what every reader of JSON
/// takes, and room for what it is written into.
pub const VALUE_DEPTH_MAX: usize = 100;

/// An execution to be created.
///
/// ```
/// use std::time::Duration;
/// use tracer::execution::NewExecution;
///
/// let new = NewExecution::new("send-invoice")
///     .payload(serde_json::json!({ "order": 17 }))
///     .max_attempts(3)
///     .timeout(Duration::from_secs(60))
///     .idempotency_key("invoice-17");
/// ```
///
/// What is wrong with it is said by [`ExecutionManager::create`](super::ExecutionManager::create).
#[derive(Debug, Clone)]
#[must_use = "give it to `ExecutionManager::create`"]
pub struct NewExecution {
    type_: String,
    values: Result<(Value, BTreeMap<String, Value>), InvalidInput>,
    max_attempts: u32,
    timeout: Option<Duration>,
    idempotency_key: Option<String>,
    parent_id: Option<ExecutionId>,
    priority: i16,
    delay: Duration,
    retry: RetryPolicy,
}

impl NewExecution {
    /// Work of this type, with no payload, one attempt and no end to the time that it may take.
    pub fn new(type_: impl Into<String>) -> Self {
        Self {
            type_: type_.into(),
            values: Ok(Default::default()),
            max_attempts: 1,
            timeout: None,
            idempotency_key: None,
            parent_id: None,
            priority: 0,
            delay: Duration::ZERO,
            retry: RetryPolicy::default(),
        }
    }

    /// What the work is done on.
    pub fn payload(self, payload: impl Serialize) -> Self {
        self.value("the payload", payload, |values, payload| values.0 = payload)
    }

    /// How many attempts there may be; at least 1.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// How long one attempt may take; at least 1 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What makes a second creation find the first. At most [`NAME_LEN_BYTES_MAX`] bytes.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The execution that this one is a part of. Nobody checks that there is one.
    pub fn parent(mut self, parent: impl Into<ExecutionId>) -> Self {
        self.parent_id = Some(parent.into());
        self
    }

    /// Adds to the metadata.
    pub fn metadata(self, key: impl Into<String>, value: impl Serialize) -> Self {
        let key = key.into();
        self.value("the metadata", value, |values, value| drop(values.1.insert(key, value)))
    }

    /// Which of those that wait goes first: the highest; 0 unless given. Workers that limit how many of a type run at once take
    /// that type in turns with the others, whatever the priorities.
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Not to be claimed before so much time has passed.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How long to wait between attempts.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    fn value(
        mut self,
        what: &'static str,
        value: impl Serialize,
        set: impl FnOnce(&mut (Value, BTreeMap<String, Value>), Value),
    ) -> Self {
        if let Ok(values) = &mut self.values {
            match to_value(what, value) {
                Ok(value) => set(values, value),
                Err(error) => self.values = Err(error),
            }
        }
        self
    }

    /// Checks it, and gives it an id.
    pub(super) fn create(self, id: ExecutionId) -> Result<Create, ExecutionError> {
        let named = |error| ExecutionError::invalid(None, error);
        let (payload, metadata) = self.values.map_err(named)?;
        check_name("a type", &self.type_).map_err(named)?;
        if let Some(key) = &self.idempotency_key {
            check_name("an idempotency key", key).map_err(named)?;
        }
        if self.max_attempts == 0 {
            return Err(named(InvalidInput::NoAttempts));
        }
        if self.timeout.is_some_and(|timeout| millis(timeout) == 0) {
            return Err(named(InvalidInput::NoTime));
        }
        let execution = Box::new(Execution {
            id,
            type_: self.type_,
            status: ExecutionStatus::Pending,
            payload,
            result: None,
            error: None,
            attempts: 0,
            max_attempts: self.max_attempts,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            started_at: None,
            completed_at: None,
            timeout: self.timeout.map(whole_millis),
            idempotency_key: self.idempotency_key,
            parent_id: self.parent_id,
            metadata,
            checkpoints: BTreeMap::new(),
            progress: None,
            priority: self.priority,
            run_at: Timestamp::default(),
            retry: RetryPolicy {
                base: whole_millis(self.retry.base),
                cap: whole_millis(self.retry.cap),
                jitter: self.retry.jitter,
            },
            retry_delay: None,
            cancel_requested: false,
            version: 1,
            epoch: 0,
            lease: None,
            reserved: false,
            redrives: 0,
            history: Vec::new(),
        });
        Ok(Create { execution, delay: self.delay })
    }
}

/// A checked execution on its way into a store, which alone knows the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// Boxed, because it is moved from one batch to the next.
    execution: Box<Execution>,
    delay: Duration,
}

impl Create {
    /// The execution as it is to be stored by a store whose clock shows `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Execution {
        *self.boxed_at(now)
    }

    /// Likewise, where it is.
    pub(super) fn boxed_at(mut self, now: Timestamp) -> Box<Execution> {
        let execution = &mut *self.execution;
        (execution.created_at, execution.updated_at, execution.run_at) = (now, now, now.after(self.delay));
        self.execution
    }

    /// Its id.
    pub fn id(&self) -> ExecutionId {
        self.execution.id
    }

    /// Its idempotency key.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.execution.idempotency_key.as_deref()
    }

    /// What the creation came to: whatever is there under the same key has to be the same work. The manager does it; who
    /// creates inside a transaction of one's own does it with what that gave.
    ///
    /// # Errors
    ///
    /// `IDEMPOTENCY_MISMATCH` if the key belongs to another type or payload.
    pub fn check(&self, created: Created) -> Result<Execution, ExecutionError> {
        let existing = match created {
            Created::New(execution) => return Ok(execution),
            Created::Existing(existing) => existing,
        };
        match self.check_same(&existing) {
            Ok(()) => Ok(existing),
            Err(differs) => {
                let key = self.idempotency_key().unwrap_or_default().into();
                let mismatch = ExecutionErrorKind::IdempotencyMismatch { key, existing: existing.id, differs };
                Err(ExecutionError::new(Some(existing.id), mismatch))
            }
        }
    }

    /// Whether `existing`, found under the same key, is what was asked for.
    fn check_same(&self, existing: &Execution) -> Result<(), &'static str> {
        if self.execution.type_ != existing.type_ {
            Err("type")
        } else if self.execution.payload != existing.payload {
            Err("payload")
        } else {
            Ok(())
        }
    }
}

/// A value as JSON. What `what` is called in the error.
pub(super) fn to_value(what: &'static str, value: impl Serialize) -> Result<Value, InvalidInput> {
    let value = serde_json::to_value(value)
        .map_err(|source| InvalidInput::NoJson { what, problem: source.to_string().into() })?;
    check_depth(what, &value)?;
    Ok(value)
}

/// What is deeper could be written, and not be read again.
pub(super) fn check_depth(what: &'static str, value: &Value) -> Result<(), InvalidInput> {
    if is_deeper(value, VALUE_DEPTH_MAX) { Err(InvalidInput::TooDeep { what }) } else { Ok(()) }
}

fn is_deeper(value: &Value, than: usize) -> bool {
    match (value, than.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => true,
        (Value::Array(values), Some(than)) => values.iter().any(|value| is_deeper(value, than)),
        (Value::Object(fields), Some(than)) => fields.values().any(|value| is_deeper(value, than)),
        _ => false,
    }
}

/// Whether this can be a type, a key or a worker's name, so that every store can index it and a terminal show it: for who
/// makes such out of something else. `what` is what it is called, with its article.
///
/// # Errors
///
/// [`InvalidInput`] if it is empty, longer than [`NAME_LEN_BYTES_MAX`], or has a control character.
pub fn check_name(what: &'static str, name: &str) -> Result<(), InvalidInput> {
    if name.is_empty() || name.len() > NAME_LEN_BYTES_MAX {
        return Err(InvalidInput::NameLength { what, found: name.len() });
    }
    match name.chars().position(char::is_control) {
        Some(at) => Err(InvalidInput::NameCharacter { what, at }),
        None => Ok(()),
    }
}
