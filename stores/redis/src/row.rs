//! Executions as the texts of a hash: read, and written many at once.

use redis::{FromRedisValue, ParsingError, Value};
use std::time::Duration;

use tracer::execution::{
    Applied, Command, Create, Cursor, Execution, ExecutionId, ListOptions, Parts, Timestamp, Write,
};

use crate::store::VALUE_LEN_BYTES_MAX;
use crate::trouble::Problem;

/// An execution, and which writing of it that is.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) revision: Vec<u8>,
    /// Or why it is none.
    pub(crate) execution: Result<Execution, Box<dyn std::error::Error + Send + Sync>>,
}

impl Read {
    pub(crate) fn execution(self) -> Result<Execution, Problem> {
        self.execution.map_err(Problem::Corrupt)
    }
}

/// The values of an answer, of which there are at least `first`.
pub(crate) fn values(answer: Value, first: usize) -> Result<Vec<Value>, Problem> {
    match answer {
        Value::Array(values) if values.len() >= first => Ok(values),
        other => Err(unlike(format!("expected an array of {first} or more, found {other:?}"))),
    }
}

pub(crate) fn value<T: FromRedisValue>(value: Value) -> Result<T, Problem> {
    T::from_redis_value(value).map_err(|error| Problem::Read(error.into()))
}

fn unlike(message: String) -> Problem {
    Problem::Read(ParsingError::from(message).into())
}

pub(crate) fn id(value: Value) -> Result<ExecutionId, Problem> {
    let text: String = self::value(value)?;
    text.parse().map_err(|error| Problem::Corrupt(format!("`{text}` is no id: {error}").into()))
}

/// Id and texts.
pub(crate) fn pair(answer: Value) -> Result<(ExecutionId, Option<Read>), Problem> {
    let mut values = values(answer, 2)?;
    let texts = values.pop().unwrap_or(Value::Nil);
    let id = id(values.pop().unwrap_or(Value::Nil))?;
    Ok((id, read(id, texts)?))
}

/// The texts of an execution, in the order in which the scripts give them.
pub(crate) fn read(id: ExecutionId, texts: Value) -> Result<Option<Read>, Problem> {
    let texts: Vec<Option<Vec<u8>>> = value(texts)?;
    let [revision, body, payload, result, checkpoints, start] =
        <[_; 6]>::try_from(texts).map_err(|texts| unlike(format!("expected 6 texts, found {}", texts.len())))?;
    if revision.is_none() && body.is_none() {
        return Ok(None);
    }
    let parts = Parts { body: body.unwrap_or_default(), payload, result, checkpoints };
    let joined = parts.join(id).map_err(Into::into);
    let execution = joined.and_then(|mut execution| match start {
        None => Ok(execution),
        Some(start) => begin(&mut execution, &start).map(|()| execution).ok_or_else(|| {
            let start = String::from_utf8_lossy(&start);
            format!("{id} was claimed by `{start}`, which it does not allow").into()
        }),
    });
    Ok(Some(Read { revision: revision.unwrap_or_default(), execution }))
}

/// A claim keeps when it was, for how long and for whom. What that makes of the execution is the rules' business.
fn begin(execution: &mut Execution, start: &[u8]) -> Option<()> {
    let mut words = std::str::from_utf8(start).ok()?.splitn(3, ':');
    let now = Timestamp::from_unix_ms(words.next()?.parse().ok()?);
    let lease = Duration::from_millis(words.next()?.parse().ok()?);
    let holder = Some((words.next()?.to_owned(), lease));
    let start = Write::new(execution.id, Command::Start { holder });
    let now = now.max(execution.updated_at);
    (start.apply(execution, now) == Ok(Applied::Changed)).then_some(())
}

/// As Redis has it: of one width, so that texts sort as ids do.
pub(crate) fn hex(id: ExecutionId) -> String {
    format!("{id:x}")
}

pub(crate) fn ms(at: Timestamp) -> String {
    at.unix_ms().to_string()
}

/// Sorts as cursors do.
fn place(cursor: Cursor) -> String {
    format!("{}{}", instant(cursor.created_at()), hex(cursor.id()))
}

fn instant(at: Timestamp) -> String {
    format!("{:016x}", at.unix_ms())
}

fn due(execution: &Execution) -> String {
    if execution.status.is_waiting() { ms(execution.run_at) } else { String::new() }
}

/// The arguments of one element of a batch.
pub(crate) type Arguments = Vec<Vec<u8>>;

/// What `create.lua` is given for one execution.
pub(crate) fn creation(new: &Create, now: Timestamp) -> Result<(Execution, Arguments), Problem> {
    let execution = new.clone().at(now);
    let Parts { body, payload, .. } = Parts::of(&execution);
    let key = execution.idempotency_key.clone().unwrap_or_default();
    let parent = execution.parent_id.map(hex).unwrap_or_default();
    let timeout = execution.timeout.map(|timeout| timeout.as_millis().to_string()).unwrap_or_default();
    let arguments = [
        hex(execution.id),
        execution.type_.clone(),
        execution.priority.to_string(),
        due(&execution),
        place(Cursor::of(&execution)),
        key,
        parent,
        timeout,
        body,
        payload.unwrap_or_default(),
    ];
    Ok((execution, checked(arguments)?))
}

/// What `save.lua` is given for one execution.
pub(crate) fn change(execution: &Execution, revision: &[u8]) -> Result<Arguments, Problem> {
    let Parts { body, result, checkpoints, .. } = Parts::without_payload(execution);
    let arguments = [
        hex(execution.id).into_bytes(),
        revision.to_owned(),
        execution.status.as_str().into(),
        due(execution).into_bytes(),
        execution.sweep_at().map(ms).unwrap_or_default().into_bytes(),
        body.into_bytes(),
        result.unwrap_or_default().into_bytes(),
        checkpoints.unwrap_or_default().into_bytes(),
    ];
    checked(arguments)
}

fn checked<T: Into<Vec<u8>>>(arguments: impl IntoIterator<Item = T>) -> Result<Arguments, Problem> {
    let check = |argument: T| {
        let argument = argument.into();
        if argument.len() > VALUE_LEN_BYTES_MAX { Err(Problem::TooLarge(argument.len())) } else { Ok(argument) }
    };
    arguments.into_iter().map(check).collect()
}

/// The ends of the range that a list is to show, as Redis has them: of the earlier, then of the later.
pub(crate) fn range(options: &ListOptions) -> (String, String) {
    let mut from = options.created_from.map_or_else(|| "-".to_owned(), |from| format!("[{}", instant(from)));
    let mut to = options.created_before.map_or_else(|| "+".to_owned(), |before| format!("({}", instant(before)));
    if let Some(after) = options.after {
        let is_in = |end: Option<Timestamp>, otherwise: bool| end.map_or(otherwise, |end| after.created_at() >= end);
        let after = format!("({}", place(after));
        match options.newest_first {
            false if is_in(options.created_from, true) => from = after,
            true if !is_in(options.created_before, false) => to = after,
            _ => {}
        }
    }
    (from, to)
}
