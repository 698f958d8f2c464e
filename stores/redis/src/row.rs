//! What scripts are given, and what they answer.

use std::collections::BTreeMap;

use redis::{FromRedisValue, ParsingError, Value};

use tracer::execution::{Create, Cursor, Execution, ExecutionId, ListOptions, Timestamp};

use crate::record::{Depth, Read, Text, Was, cursor, hex, instant, place};
use crate::store::VALUE_LEN_BYTES_MAX;
use crate::trouble::Problem;

/// The values of an answer, of which there are at least `first`.
pub(crate) fn values(answer: Value, first: usize) -> Result<Vec<Value>, Problem> {
    match answer {
        Value::Array(values) if values.len() >= first => Ok(values),
        other => {
            let message = format!("expected an array of {first} or more, found {other:?}");
            Err(Problem::Read(ParsingError::from(message).into()))
        }
    }
}

pub(crate) fn value<T: FromRedisValue>(value: Value) -> Result<T, Problem> {
    T::from_redis_value(value).map_err(|error| Problem::Read(error.into()))
}

/// Ids, each with its execution, if there is one.
pub(crate) fn pairs(
    answers: impl Iterator<Item = Value>,
    depth: Depth,
) -> impl Iterator<Item = Result<(ExecutionId, Option<Read>), Problem>> {
    named(answers, depth, |id| id.parse().ok(), |id| *id)
}

/// Places, each with its execution, if there is one.
pub(crate) fn placed(
    answers: impl Iterator<Item = Value>,
    depth: Depth,
) -> impl Iterator<Item = Result<(Cursor, Option<Read>), Problem>> {
    named(answers, depth, cursor, |place| place.id())
}

fn named<N>(
    mut answers: impl Iterator<Item = Value>,
    depth: Depth,
    name: impl Fn(&str) -> Option<N>,
    id: impl Fn(&N) -> ExecutionId,
) -> impl Iterator<Item = Result<(N, Option<Read>), Problem>> {
    let pairs = std::iter::from_fn(move || Some((answers.next()?, answers.next().unwrap_or(Value::Nil))));
    pairs.map(move |(text, answer)| {
        let text: String = value(text)?;
        let name = name(&text).ok_or_else(|| Problem::Corrupt(format!("`{text}` names no execution").into()))?;
        let read = read(id(&name), answer, depth)?;
        Ok((name, read))
    })
}

/// An execution as scripts answer it: who has claimed it, its text, the parts that are not in that.
pub(crate) fn read(id: ExecutionId, answer: Value, depth: Depth) -> Result<Option<Read>, Problem> {
    let mut texts: Vec<Option<Vec<u8>>> = value(answer)?;
    if texts.len() < 2 {
        return Ok(None);
    }
    let outside = texts.split_off(2);
    let text = texts.pop().flatten();
    let start = texts.pop().flatten();
    Ok(text.map(|text| Read::new(id, start, &text, &outside, depth)))
}

pub(crate) fn ms(at: Timestamp) -> String {
    at.unix_ms().to_string()
}

fn due(execution: &Execution) -> String {
    if execution.status.is_waiting() { ms(execution.run_at) } else { String::new() }
}

/// One of a batch, as `create.lua` or `save.lua` is given it.
pub(crate) struct Element {
    fields: Vec<Vec<u8>>,
    /// What has no place in the fields: names of parts and keys of checkpoints, with their texts.
    outside: Vec<(String, String)>,
}

impl Element {
    pub(crate) fn new(new: &Create, now: Timestamp) -> Result<(Execution, Self), Problem> {
        let execution = new.clone().at(now);
        let place = place(Cursor::of(&execution));
        let Text { text, outside } = Text::new(&execution, &place, None, false)?;
        let fields = [
            hex(execution.id),
            execution.type_.clone(),
            execution.priority.to_string(),
            due(&execution),
            place,
            execution.idempotency_key.clone().unwrap_or_default(),
            execution.parent_id.map(hex).unwrap_or_default(),
            text,
        ];
        let outside = outside.into_iter().map(|(name, part)| (name.to_owned(), part)).collect();
        Ok((execution, Self { fields: fields.map(String::into_bytes).into(), outside }))
    }

    /// An execution, and the checkpoints that have come to it.
    pub(crate) fn change(execution: &Execution, was: Was, kept: BTreeMap<String, String>) -> Result<Self, Problem> {
        let kept_len = kept.iter().map(|(key, value)| key.len() + value.len()).sum();
        if kept_len > VALUE_LEN_BYTES_MAX {
            return Err(Problem::TooMuchKept(kept_len));
        }
        let place = place(Cursor::of(execution));
        let Text { text, outside } = Text::new(execution, &place, Some(&was), !kept.is_empty())?;
        let outside = outside.into_iter().map(|(name, part)| (name.to_owned(), part)).chain(kept).collect();
        let due = due(execution);
        let queue = if was.is_waiting || !due.is_empty() {
            format!("{due} {place} {} {}", execution.priority, execution.type_)
        } else {
            String::new()
        };
        let sweep = execution.sweep_at().map(ms).unwrap_or_default();
        let fields =
            vec![hex(execution.id).into_bytes(), was.mark, sweep.into_bytes(), text.into_bytes(), queue.into_bytes()];
        Ok(Self { fields, outside })
    }

    /// How many texts it is, and how many bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let outside: usize = self.outside.iter().map(|(name, part)| name.len() + part.len()).sum();
        (1 + self.outside.len(), self.fields.iter().map(Vec::len).sum::<usize>() + outside)
    }
}

/// The arguments for these: how many, their fields, then what is too large for those.
pub(crate) fn arguments(elements: Vec<Element>) -> Vec<Vec<u8>> {
    let mut arguments = vec![elements.len().to_string().into_bytes()];
    let mut parts = Vec::new();
    for (number, Element { fields, outside }) in (1..).zip(elements) {
        arguments.extend(fields);
        for (name, part) in outside {
            parts.extend([i32::to_string(&number), name, part].map(String::into_bytes));
        }
    }
    arguments.extend(parts);
    arguments
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
